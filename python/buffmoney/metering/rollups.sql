-- Statements of the roll-ups.

-- name: claim_progress
-- Another worker that is at it keeps it: nobody waits.
SELECT commit_seq FROM rollup_progress WHERE partition_id = $1 FOR UPDATE SKIP LOCKED

-- name: next_chunk
-- The commits after $2 up to about $3 events. Commits become visible in their order, so a prefix of them is final.
SELECT max(commit_seq) AS last_seq, max(commit_id) AS last_id, min(committed_at) AS first_at, max(committed_at) AS last_at,
    sum(events) AS events, clock_timestamp() - min(committed_at) AS age
FROM (
    SELECT commit_seq, commit_id, committed_at, events, sum(events) OVER (ORDER BY commit_seq) AS so_far
    FROM commits WHERE partition_id = $1 AND commit_seq > $2 ORDER BY commit_seq LIMIT 20000
) AS tail
WHERE so_far - events < $3

-- name: roll_up
-- An event's accepted_at is its commit's committed_at, so the times find the day partitions and the BRIN index the blocks.
INSERT INTO usage_rollups AS r (tenant_id, account_id, bucket, metric_id, dimensions, events, quantity, charge)
-- A void takes its event out of the row it is in, when its own commit comes.
SELECT tenant_id, account_id, date_bin('15 minutes', occurred_at, '1970-01-01+00'), metric_id, dimensions, sum(events), sum(quantity), sum(charge)
FROM (
    SELECT tenant_id, account_id, occurred_at, metric_id, dimensions, 1 AS events, quantity, charge FROM usage_events
    WHERE commit_id > $1 AND commit_id <= $2 AND accepted_at BETWEEN $3 AND $4
    UNION ALL
    SELECT tenant_id, account_id, occurred_at, metric_id, dimensions, -1, -quantity, -charge FROM usage_voids
    WHERE commit_id > $1 AND commit_id <= $2
) AS taken
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (tenant_id, account_id, bucket, metric_id, dimensions) DO UPDATE
SET events = r.events + excluded.events, quantity = r.quantity + excluded.quantity, charge = r.charge + excluded.charge

-- name: advance_progress
UPDATE rollup_progress SET commit_seq = $2 WHERE partition_id = $1

-- name: partitions
SELECT partition_id FROM rollup_progress ORDER BY partition_id

-- name: lag
SELECT p.commit_seq - r.commit_seq FROM partitions p JOIN rollup_progress r USING (partition_id) WHERE partition_id = $1

-- name: summarize
SELECT summarize_commit_indexes()
