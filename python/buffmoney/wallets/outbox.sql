-- Statements of the wallets' outbox. A row without a result is not decided yet.

-- name: enqueue
-- No row: the command is there already.
INSERT INTO wallet_outbox (tenant_id, command_id, source, customer, command, created_at, next_at) VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7)
ON CONFLICT (tenant_id, command_id) DO NOTHING RETURNING command::text

-- name: same
-- No row: another command is there under this id.
SELECT command::text FROM wallet_outbox WHERE tenant_id = $1 AND command_id = $2 AND command = $3::jsonb

-- name: read_one
SELECT command::text AS command, result::text AS result FROM wallet_outbox WHERE tenant_id = $1 AND command_id = $2

-- name: find
SELECT command_id, source, applied_at, refused, result::text AS result FROM wallet_outbox WHERE tenant_id = $1 AND command_id = ANY ($2::uuid[])

-- name: claim
-- What is due, the longest due first, and when it is to be tried next if this brings no answer. Others take what is not claimed here.
UPDATE wallet_outbox AS o SET attempts = o.attempts + 1, next_at = $1 + make_interval(secs => least(2 ^ least(o.attempts, 9), $3))
FROM (
    SELECT tenant_id, command_id FROM wallet_outbox WHERE result IS NULL AND next_at <= $1 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED
) AS due
JOIN tenants AS t ON t.tenant_id = due.tenant_id
WHERE o.tenant_id = due.tenant_id AND o.command_id = due.command_id
RETURNING o.tenant_id, o.command_id, o.command::text AS command, t.merchant_id, t.mode, t.partition_id, t.currency

-- name: lag
-- Seconds, by the clock $1, since the oldest undecided command was enqueued.
SELECT coalesce(extract(epoch FROM $1::timestamptz - min(created_at)), 0)::float8 FROM wallet_outbox WHERE result IS NULL

-- name: settle
-- Without those of which somebody else has kept the core's answer, which is the same.
UPDATE wallet_outbox AS o SET applied_at = CASE WHEN one.refused IS NULL THEN $2::timestamptz END, refused = one.refused, result = one.result::jsonb
FROM unnest($3::uuid[], $4::text[], $5::text[]) AS one (command_id, refused, result)
WHERE o.tenant_id = $1 AND o.command_id = one.command_id AND o.result IS NULL
RETURNING o.command_id
