-- Statements of buffmoney.audit.

-- name: begin
-- By the schema's owner, with the tenant itself.
INSERT INTO audit_heads (tenant_id, seq, chain_hash, mac) VALUES ($1, 0, $2, $3);

-- name: lock_head
-- Until the end of the transaction: who changes the same tenant meanwhile waits here, so that no number is given twice or left out.
SELECT seq, chain_hash, mac FROM audit_heads WHERE tenant_id = $1 FOR UPDATE;

-- name: append
WITH entry AS (
    INSERT INTO audit_log (tenant_id, seq, chain_hash, at, actor_kind, actor, action, object_kind, object_id, before, after, request_id)
    VALUES ($1, $2, $3, $5, $6, $7, $8, $9, $10, $11::text::jsonb, $12::text::jsonb, $13)
)
UPDATE audit_heads SET seq = $2, chain_hash = $3, mac = $4 WHERE tenant_id = $1;

-- name: without_log
-- Tenants from before there was an audit log.
SELECT t.tenant_id, t.merchant_id, t.mode FROM tenants t LEFT JOIN audit_heads h USING (tenant_id) WHERE h.tenant_id IS NULL ORDER BY 1;

-- name: page
-- Newest first, below $2. An entry may hold a whole rate card, so a page also ends where it has become $9 bytes long.
SELECT seq, at, actor_kind, actor, action, object_kind, object_id, before, after, request_id, chain_hash
FROM (
    SELECT *, sum(coalesce(octet_length(before), 0) + coalesce(octet_length(after), 0)) OVER (ORDER BY seq DESC) AS bytes,
        row_number() OVER (ORDER BY seq DESC) AS place
    FROM (
        SELECT seq, at, actor_kind, actor, action, object_kind, object_id, before::text AS before, after::text AS after, request_id, chain_hash
        FROM audit_log
        WHERE tenant_id = $1 AND ($2::bigint IS NULL OR seq < $2) AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR actor = $4)
            AND ($5::text IS NULL OR object_id = $5) AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
        ORDER BY seq DESC LIMIT $8
    ) AS entry
) AS counted
WHERE bytes <= $9 OR place = 1
ORDER BY seq DESC;

-- name: is_more
-- Whether the same filters find anything below the end of a page.
SELECT EXISTS (
    SELECT FROM audit_log
    WHERE tenant_id = $1 AND seq < $2 AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR actor = $4)
        AND ($5::text IS NULL OR object_id = $5) AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
);

-- name: all_entries
SELECT tenant_id, seq, at, actor_kind, actor, action, object_kind, object_id, before::text AS before, after::text AS after, request_id, chain_hash
FROM audit_log ORDER BY tenant_id, seq;

-- name: all_heads
-- Of every tenant; without a seq where there is none.
SELECT t.tenant_id, h.seq, h.chain_hash, h.mac FROM tenants t LEFT JOIN audit_heads h USING (tenant_id) ORDER BY 1;
