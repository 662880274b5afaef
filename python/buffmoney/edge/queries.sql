-- name: lock_request
-- Until the end of the transaction; false if another request with the same key holds it.
SELECT pg_try_advisory_xact_lock(hashtextextended('idempotent request ' || $1, 0));

-- name: stored_answer
SELECT fingerprint, status, body FROM idempotent_requests WHERE tenant_id = $1 AND request_key = $2;

-- name: store_answer
INSERT INTO idempotent_requests (tenant_id, request_key, fingerprint, status, body, created_at) VALUES ($1, $2, $3, $4, $5, $6);

-- name: partition_heads
-- What readiness needs to know of every partition.
SELECT p.partition_id, p.commit_seq, p.head, p.head_mac, p.lease_until > now() AS held, c.head AS committed_head
FROM partitions p LEFT JOIN commits c USING (partition_id, commit_seq)
ORDER BY p.partition_id;

-- name: committed_head
SELECT head FROM commits WHERE partition_id = $1 AND commit_seq = $2;
