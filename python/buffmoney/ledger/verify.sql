-- What `ledger verify` reads: the first statements by COPY BINARY into the Rust verifier, which names their columns.

-- name: postings
SELECT tenant_id, account_id, seq, kind, debit_account_id, credit_account_id, amount, balance_after, held_after, grant_id, reference,
    commit_id, posted_at, grants_after, chain_hash, unbilled_after
FROM postings ORDER BY tenant_id, account_id, seq

-- name: voids
SELECT tenant_id, key_hash, idempotency_key, account_id, commit_id, voided_at, command_id, set_id, voided_by, reason, event_commit_id,
    event_posting_seq, posting_seq, metric_id, price_id, occurred_at, quantity, charge, dimensions, parts, balance_after, replaced_by,
    replaced_fingerprint, counter_before, unbilled_after
FROM usage_voids ORDER BY tenant_id, key_hash

-- name: period_charges
SELECT tenant_id, account_id, period_start, counter_id, revision, price_id, quantity, charged, total, amount, parts, posting_seq,
    balance_after, commit_id, settled_at
FROM period_charges ORDER BY tenant_id, account_id, period_start, counter_id, revision

-- name: events
SELECT tenant_id, account_id, commit_id, posting_seq, occurred_at, metric_id, price_id, quantity, charge, idempotency_key, dimensions,
    counter_before
FROM usage_events

-- name: counters
SELECT tenant_id, account_id, period_start, commit_id, whole, counter_ids, quantities
FROM usage_counter_quantities ORDER BY tenant_id, account_id, period_start, commit_id

-- name: periods
-- Where the periods of those tenants begin that count anything.
SELECT tenant_id, period_settings(tenant_id) FROM tenants t WHERE EXISTS (SELECT FROM usage_counters u WHERE u.tenant_id = t.tenant_id)

-- name: event_keys
-- In key order, so that a key which is in two tables comes twice in a row.
SELECT tenant_id, key_hash, fingerprint, commit_id FROM event_keys ORDER BY tenant_id, key_hash

-- name: commits
SELECT partition_id, commit_seq, commit_id, epoch, committed_at, events, postings, charged, digest, head, messages
FROM commits ORDER BY 1, 2

-- name: prices
-- A draft's lines have no price_id: nothing was ever charged by them.
SELECT tenant_id, price_id, model, price::text, per::text, percent::text, minimum::text, currency, counter_id, allowance::text, tiers::text, blocks,
    minimum_per_period::text, period_quantity_counter_id, period_charge_counter_id
FROM rate_card_charges WHERE price_id IS NOT NULL

-- name: metrics
SELECT tenant_id, metric_id, code FROM metrics

-- name: customers
SELECT tenant_id, account_id, external_id, currency FROM customers

-- name: heads
SELECT partition_id, commit_seq, head, head_mac FROM partitions ORDER BY 1

-- name: head_at
SELECT head FROM commits WHERE partition_id = $1 AND commit_seq = $2

-- name: estimates
-- Rows by the planner's statistics, for the progress bar.
SELECT coalesce((SELECT reltuples FROM pg_class WHERE oid = 'postings'::regclass), 0)::bigint AS postings,
    coalesce((SELECT sum(greatest(c.reltuples, 0)) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = 'usage_events'::regclass), 0)::bigint AS events,
    coalesce((SELECT reltuples FROM pg_class WHERE oid = 'usage_voids'::regclass), 0)::bigint AS voids,
    coalesce((SELECT reltuples FROM pg_class WHERE oid = 'period_charges'::regclass), 0)::bigint AS period_charges,
    coalesce((SELECT reltuples FROM pg_class WHERE oid = 'usage_counter_quantities'::regclass), 0)::bigint AS counters,
    coalesce((SELECT sum(greatest(c.reltuples, 0)) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = 'event_keys'::regclass), 0)::bigint AS event_keys,
    coalesce((SELECT reltuples FROM pg_class WHERE oid = 'commits'::regclass), 0)::bigint AS commits

-- name: rollup_differences
-- Roll-ups against the events they cover, less the voids: those of commits up to each partition's progress.
WITH taken AS (
    SELECT tenant_id, account_id, commit_id, occurred_at, metric_id, dimensions, 1 AS events, quantity, charge FROM usage_events
    UNION ALL
    SELECT tenant_id, account_id, commit_id, occurred_at, metric_id, dimensions, -1, -quantity, -charge FROM usage_voids
),
covered AS (
    SELECT e.tenant_id, e.account_id, date_bin('15 minutes', e.occurred_at, '1970-01-01+00') AS bucket, e.metric_id, e.dimensions,
        sum(e.events) AS events, sum(e.quantity) AS quantity, sum(e.charge) AS charge
    FROM taken e JOIN rollup_progress p ON p.partition_id = (e.commit_id >> 48)::integer
    WHERE (e.commit_id & ((1::bigint << 48) - 1)) <= p.commit_seq
    GROUP BY 1, 2, 3, 4, 5
)
SELECT tenant_id, account_id, bucket, metric_id, dimensions, r.events AS rolled_up, c.events AS stored
FROM usage_rollups r FULL JOIN covered c USING (tenant_id, account_id, bucket, metric_id, dimensions)
WHERE (r.events, r.quantity, r.charge) IS DISTINCT FROM (c.events, c.quantity, c.charge)
LIMIT 100

-- name: hold_differences
-- A hold is what was put on hold, less what was captured, less what went back; an open one has lost nothing, a closed one everything. One of
-- zero has no postings.
WITH moved AS (
    SELECT tenant_id, reference AS hold_id,
        coalesce(sum(amount) FILTER (WHERE kind = 3), 0) AS held,
        coalesce(sum(amount) FILTER (WHERE kind = 4), 0) AS captured,
        coalesce(sum(amount) FILTER (WHERE kind IN (5, 8)), 0) AS returned,
        coalesce(bool_or(kind = 8), false) AS expired
    FROM postings WHERE kind IN (3, 4, 5, 8) GROUP BY 1, 2
)
SELECT coalesce(h.tenant_id, m.tenant_id) AS tenant_id, coalesce(h.account_id, 0) AS account_id,
    coalesce(h.hold_id, m.hold_id) AS hold_id, h.status, h.amount, m.held, m.captured, m.returned
FROM holds h FULL JOIN moved m ON m.tenant_id = h.tenant_id AND m.hold_id = h.hold_id
WHERE h.hold_id IS NULL OR coalesce(m.held, 0) <> h.amount
    OR (h.status = 'open' AND m.captured + m.returned <> 0)
    OR (h.status <> 'open' AND m.captured + m.returned <> m.held)
    OR (h.status = 'expired') <> m.expired
LIMIT 100

-- name: outbox_differences
-- What the outbox says became of a command must be what the core remembers of it. Commands that are not decided yet say nothing.
SELECT o.tenant_id, o.command_id, o.source, coalesce(o.refused, 'applied') AS outcome
FROM wallet_outbox o LEFT JOIN wallet_commands c ON c.tenant_id = o.tenant_id AND c.command_id = o.command_id
WHERE o.result IS NOT NULL AND o.result IS DISTINCT FROM c.result::jsonb
LIMIT 100
