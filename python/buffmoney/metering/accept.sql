-- name: commits_of_keys
-- In which commits these events were accepted, and when that was.
SELECT DISTINCT k.commit_id, c.committed_at
FROM event_keys k JOIN commits c USING (commit_id)
WHERE k.tenant_id = $1 AND k.key_hash = ANY ($2::uuid[]);

-- name: charges_in_commits
-- What events were charged when they were accepted. The times say which days' tables to look into.
SELECT idempotency_key, trim_scale(charge)::text AS charge
FROM usage_events
WHERE tenant_id = $1 AND idempotency_key = ANY ($2::text[]) AND commit_id = ANY ($3::bigint[])
    AND accepted_at BETWEEN $4::timestamptz - interval '1 hour' AND $5::timestamptz + interval '1 hour';
