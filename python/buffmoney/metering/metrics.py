"""What the core and the worker count, for Prometheus. Every series but the worker's is per partition."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("buffmoney_events", "Usage events decided, by outcome or rejection code.", ["partition", "outcome"])
COMMIT_SECONDS = Histogram(
    "buffmoney_commit_seconds",
    "From the first byte of a group to its commit.",
    ["partition"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
GROUP_EVENTS = Histogram(
    "buffmoney_group_events",
    "New events in a committed group.",
    ["partition"],
    buckets=(0, 1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000),
)
GROUP_MESSAGES = Histogram(
    "buffmoney_group_messages", "Inbox messages in a committed group.", ["partition"], buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128, 512)
)
INBOX_DEPTH = Gauge("buffmoney_inbox_depth", "Messages waiting in Redis.", ["partition"])
IN_HAND = Gauge("buffmoney_messages_in_hand", "Messages taken from the inbox and not yet committed.", ["partition"])
COMMIT_FAULTS = Counter("buffmoney_commit_faults", "Groups not committed at the first attempt, by reason.", ["partition", "reason"])
MESSAGES_DROPPED = Counter("buffmoney_messages_dropped", "Messages that can never be applied, by reason.", ["partition", "reason"])
REDELIVERIES = Counter("buffmoney_redeliveries", "Messages delivered again, by what was known of them.", ["partition", "known"])
REDIS_FAULTS = Counter("buffmoney_core_redis_faults", "Failures to publish to Redis.", ["partition"])
LEASE_HELD = Gauge("buffmoney_lease_held", "1 while this process is the partition's writer.", ["partition"])
HEAD_VALID = Gauge("buffmoney_ledger_head_valid", "0 when the ledger ends before its signed head.", ["partition"])
WALLETS = Gauge("buffmoney_wallets_in_memory", "Wallets the engine holds.", ["partition"])
ENGINE_BYTES = Gauge("buffmoney_engine_bytes", "Memory of the engine, bytes.", ["partition"])
ROLLUP_LAG = Gauge("buffmoney_rollup_lag_commits", "Commits that are not yet in the roll-ups.", ["partition"])
ROLLUP_FAILURES = Counter("buffmoney_rollup_failures", "Attempts to roll up that ended in an error.")
