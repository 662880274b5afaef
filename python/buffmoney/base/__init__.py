"""What every package stands on: configuration, time, ids, money, errors, the way to PostgreSQL and Redis, telemetry.

Owns no table and no route, and imports nothing of BuffMoney but the Rust core. Invariants: time is only read through a `Clock`,
amounts are never floats, and every failure that a client may see is a `Problem` whose code is registered in `errors`.
"""
