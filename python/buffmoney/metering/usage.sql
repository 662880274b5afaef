-- Statements that read usage.

-- name: trust_indexes
-- Statistics lag behind tables that grow this fast; the index is right whatever they say.
SET LOCAL enable_seqscan = off;

-- name: metric_ids
SELECT code, metric_id FROM metrics WHERE tenant_id = $1;

-- name: customer
SELECT account_id, currency FROM customers WHERE tenant_id = $1 AND external_id = $2;

-- name: other_currencies
-- Whether there are customers of another currency than this one.
SELECT EXISTS (SELECT FROM customers WHERE tenant_id = $1 AND currency < $2) OR EXISTS (SELECT FROM customers WHERE tenant_id = $1 AND currency > $2);

-- name: usage
-- Roll-ups, and the events and voids after the watermark of the partition: one statement, hence one snapshot, in which each of them is in
-- exactly one of the two. The roll-ups and their watermark move in one transaction, and a partition's commits become visible in their order.
-- $2: partition. $3, $4: from, to, or NULL. $5: account, $6: metric, $7: dimensions (jsonb), each NULL for all.
-- $8: hour, day, month, or NULL for one stretch. $9: time zone. $10: group by customer. $11: dimensions to group by. $12: most rows.
-- $13: whether there are customers of several currencies, so that each is summed on its own; else currency is NULL.
WITH tail_from AS (
    -- An event's accepted_at is its commit's committed_at: the time finds the day tables, the id the blocks.
    SELECT ($2::bigint << 48) + coalesce(max(r.commit_seq), 0) AS commit_id,
        coalesce(max(c.committed_at), '-infinity'::timestamptz) AS committed_at
    FROM rollup_progress r LEFT JOIN commits c ON c.partition_id = r.partition_id AND c.commit_seq = r.commit_seq
    WHERE r.partition_id = $2
),
covered AS (
    SELECT account_id, bucket, metric_id, dimensions, events, quantity, charge
    FROM usage_rollups
    WHERE tenant_id = $1
        AND ($3::timestamptz IS NULL OR bucket >= $3) AND ($4::timestamptz IS NULL OR bucket < $4)
        AND ($5::bigint IS NULL OR account_id = $5) AND ($6::integer IS NULL OR metric_id = $6)
    UNION ALL
    SELECT e.account_id, e.occurred_at, e.metric_id, e.dimensions, 1, e.quantity, e.charge
    FROM usage_events e
    WHERE e.tenant_id = $1
        AND e.commit_id > (SELECT commit_id FROM tail_from) AND e.commit_id < ($2::bigint + 1) << 48
        AND e.accepted_at >= (SELECT committed_at FROM tail_from)
        AND ($3::timestamptz IS NULL OR e.occurred_at >= $3) AND ($4::timestamptz IS NULL OR e.occurred_at < $4)
        AND ($5::bigint IS NULL OR e.account_id = $5) AND ($6::integer IS NULL OR e.metric_id = $6)
    UNION ALL
    SELECT v.account_id, v.occurred_at, v.metric_id, v.dimensions, -1, -v.quantity, -v.charge
    FROM usage_voids v
    WHERE v.tenant_id = $1
        AND v.commit_id > (SELECT commit_id FROM tail_from) AND v.commit_id < ($2::bigint + 1) << 48
        AND ($3::timestamptz IS NULL OR v.occurred_at >= $3) AND ($4::timestamptz IS NULL OR v.occurred_at < $4)
        AND ($5::bigint IS NULL OR v.account_id = $5) AND ($6::integer IS NULL OR v.metric_id = $6)
),
grouped AS (
    SELECT CASE WHEN $8::text IS NOT NULL THEN date_trunc($8, bucket, $9::text) END AS start,
        CASE WHEN $10::boolean THEN account_id END AS account_id,
        metric_id,
        (SELECT jsonb_object_agg(name, dimensions::jsonb ->> name) FROM unnest($11::text[]) AS name) AS dimensions,
        w.currency,
        sum(events) AS events, sum(quantity) AS quantity, sum(charge) AS charge
    FROM covered LEFT JOIN (SELECT account_id, currency FROM customers WHERE tenant_id = $1 AND $13::boolean) AS w USING (account_id)
    WHERE $7::jsonb IS NULL OR dimensions::jsonb @> $7::jsonb
    GROUP BY 1, 2, 3, 4, 5
    -- Where every event is voided, it is as if there had been none.
    HAVING sum(events) <> 0
    LIMIT $12
)
SELECT g.start, CASE $8 WHEN 'hour' THEN g.start + interval '1 hour' ELSE date_add(g.start, ('1 ' || $8)::interval, $9) END AS "end",
    c.external_id, m.code AS metric, g.dimensions::text AS dimensions, g.currency, g.events, g.quantity, g.charge
FROM grouped g
JOIN metrics m ON m.tenant_id = $1 AND m.metric_id = g.metric_id
LEFT JOIN customers c ON c.tenant_id = $1 AND c.account_id = g.account_id
ORDER BY g.start, c.external_id, g.metric_id, g.dimensions::text, g.currency;

-- name: key_commit
-- In which commit an event was accepted.
SELECT k.commit_id, c.committed_at FROM event_keys k JOIN commits c USING (commit_id) WHERE k.tenant_id = $1 AND k.key_hash = $2;

-- name: event
-- The event itself, in the table of its day, with the line of the rate card that priced it.
SELECT e.ctid::text AS place, e.account_id, e.posting_seq, c.external_id, c.currency, m.code AS metric, e.quantity, e.charge, e.occurred_at, e.accepted_at, e.dimensions,
    p.rate_card_id, p.line, p.price, p.per, p.match::text AS match, r.name AS card_name, r.effective_from,
    p.model, p.percent, p.minimum, r.version, e.counter_before, p.allowance, p.tiers::text AS tiers, p.minimum_per_period,
    p.blocks, period_settings(e.tenant_id)
FROM usage_events e
JOIN customers c USING (tenant_id, account_id)
JOIN metrics m USING (tenant_id, metric_id)
JOIN rate_card_charges p USING (tenant_id, price_id)
JOIN rate_cards r USING (tenant_id, rate_card_id)
WHERE e.tenant_id = $1 AND e.commit_id = $2 AND e.accepted_at = $3 AND e.idempotency_key = $4;

-- name: shared_postings
-- All usage postings of a wallet ($2) in a commit ($3, $4), each with the number and the sum of the events that begin in it.
WITH begun AS (
    SELECT posting_seq, count(*) AS events, sum(charge) AS charge FROM usage_events
    WHERE tenant_id = $1 AND account_id = $2 AND commit_id = $3 AND accepted_at = $4 AND posting_seq > 0
    GROUP BY posting_seq
),
span AS (SELECT min(posting_seq) AS first, max(posting_seq) AS last FROM begun)
SELECT p.seq, k.code AS kind, p.amount, p.balance_after, p.held_after, p.unbilled_after, p.grant_id, p.posted_at, s.code AS credit_code,
    CASE WHEN p.debit_account_id = -p.account_id THEN 'customer_unbilled' ELSE 'customer_wallet' END AS debit_code,
    coalesce(b.events, 0) AS began, coalesce(b.charge, 0) AS charged
-- The last event may go on with a posting for each of the other open grants, one for overdraft and one for what is unbilled.
FROM span JOIN postings p ON p.seq BETWEEN span.first AND span.last + 101
JOIN posting_kinds k USING (kind)
JOIN system_accounts s ON s.account_id = p.credit_account_id
LEFT JOIN begun b ON b.posting_seq = p.seq
WHERE p.tenant_id = $1 AND p.account_id = $2 AND p.commit_id = $3 AND k.code = 'usage'
ORDER BY p.seq;

-- name: later_event
-- Whether an event that begins in the same posting ($5), is charged more than goes on with the next one ($6), and was written after
-- this one ($7): events are written in the order in which they were charged.
SELECT EXISTS (
    SELECT FROM usage_events
    WHERE tenant_id = $1 AND account_id = $2 AND commit_id = $3 AND accepted_at = $4 AND posting_seq = $5 AND charge > $6
        AND ctid > $7::text::tid
);

-- name: period_settings
SELECT period_settings($1);

-- name: period_charges
-- Newest first. $2: account, $3: start of the period, NULL for all. $4 to $7: the last row of the page before, or NULL. $8: most rows.
SELECT y.account_id, c.external_id, c.currency, y.period_start, y.counter_id, y.revision, y.quantity, y.charged, y.total, y.amount,
    y.posting_seq, y.balance_after, y.commit_id, y.settled_at, y.parts,
    m.code AS metric, p.rate_card_id, p.line, p.match::text AS match, p.model, p.price, p.per, p.percent, p.minimum, p.minimum_per_period,
    p.allowance, p.tiers::text AS tiers, p.blocks, r.name AS card_name, r.version, r.effective_from
FROM period_charges y
JOIN customers c USING (tenant_id, account_id)
JOIN rate_card_charges p USING (tenant_id, price_id)
JOIN metrics m USING (tenant_id, metric_id)
JOIN rate_cards r USING (tenant_id, rate_card_id)
WHERE y.tenant_id = $1 AND ($2::bigint IS NULL OR y.account_id = $2) AND ($3::timestamptz IS NULL OR y.period_start = $3)
    AND ($4::bigint IS NULL OR (y.commit_id, y.account_id, y.period_start, y.counter_id) < ($4, $5::bigint, $6::timestamptz, $7::integer))
ORDER BY y.commit_id DESC, y.account_id DESC, y.period_start DESC, y.counter_id DESC LIMIT $8;

-- name: period_postings
-- Of these rows (account, commit, first posting) the postings: those of the same kind and reference that follow the first.
SELECT p.account_id, p.reference, p.seq, k.code AS kind, p.amount, p.balance_after, p.unbilled_after, p.grant_id, p.posted_at, f.seq AS first,
    -p.account_id IN (p.debit_account_id, p.credit_account_id) AS accrued
FROM unnest($2::bigint[], $3::bigint[]) AS wanted (account_id, seq)
JOIN postings f ON f.tenant_id = $1 AND f.account_id = wanted.account_id AND f.seq = wanted.seq
-- As many as a wallet has open grants, one for overdraft and one for what is unbilled.
JOIN postings p ON p.tenant_id = $1 AND p.account_id = f.account_id AND p.seq BETWEEN f.seq AND f.seq + 102 AND p.reference = f.reference
    AND p.kind = f.kind
JOIN posting_kinds k ON k.kind = p.kind
ORDER BY p.account_id, p.seq;
