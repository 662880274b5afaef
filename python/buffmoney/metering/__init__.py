"""Metering: usage events from the API to the ledger, exactly once.

The edge decodes a batch, asks Redis about a sample of its keys (about all of them only if one is known), sets aside what is
seen, and puts the rest into the partition's inbox (`accept`, `inbox`). The core (`core`, `hand`) takes messages in groups,
rates and deducts them in the Rust engine, and commits each group in one transaction; only then does it answer. The worker
rolls usage up.

Owns: event_keys, usage_events, usage_counter_quantities, usage_rollups, rollup_progress, partitions, commits. Through the engine's groups
the core also writes the rows of wallets (customers, grants, holds, postings), because one transaction must hold them all. Does not own:
prices, which it reads from `pricing`, and what the wallets mean, which is in `wallets`.

Invariants: one writer for each partition, fenced by an epoch; nothing answered before its commit; a key counts as seen only
after its commit; a counter is what the accepted events of a customer, a line and a period add up to; messages in hand are applied again
after every failure. Idempotency key: (tenant, idempotencyKey) of each event, and the command id of each wallet command.

What a crash leaves. Edge: a message whose reply nobody takes; the sender's retry finds its events stored. Core: a transaction
that is committed or not; its lease runs out, or is taken at once where its process is known to be dead, and the edges deliver again
what was not answered. Redis: nothing; sets, balances and inbox
start empty. Worker: roll-ups as of the last whole chunk.
"""
