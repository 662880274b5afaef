-- Statements of buffmoney.wallets. All of them read: wallets are written by the core alone.

-- name: account
SELECT account_id FROM customers WHERE tenant_id = $1 AND external_id = $2;

-- name: customer
SELECT external_id, currency, overdraft_limit, low_balance_threshold, created_at FROM customers WHERE tenant_id = $1 AND external_id = $2;

-- name: list_customers
-- In the order of their making. $2: the last account of the page before, or 0.
SELECT account_id, external_id, currency, overdraft_limit, low_balance_threshold, created_at
FROM customers WHERE tenant_id = $1 AND account_id > $2 ORDER BY account_id LIMIT $3;

-- name: wallet
-- The wallet as of its latest posting, with its open grants in the order of spending; one snapshot.
SELECT c.currency, coalesce(p.seq, 0) AS seq, coalesce(p.balance_after, 0) AS available, coalesce(p.held_after, 0) AS held,
    coalesce(p.unbilled_after, 0) AS unbilled, p.grants_after,
    (SELECT array_agg(g) FROM (
        SELECT grant_id, kind, priority, expires_at FROM grants
        -- grants_after is 32 bytes a grant, of which the first 16 are its id.
        WHERE tenant_id = c.tenant_id AND grant_id IN (
            SELECT encode(substr(p.grants_after, n * 32 + 1, 16), 'hex')::uuid FROM generate_series(0, length(p.grants_after) / 32 - 1) AS n)
    ) AS g) AS grants
FROM customers c
LEFT JOIN LATERAL (
    SELECT seq, balance_after, held_after, unbilled_after, grants_after FROM postings
    WHERE tenant_id = c.tenant_id AND account_id = c.account_id ORDER BY seq DESC LIMIT 1
) AS p ON true
WHERE c.tenant_id = $1 AND c.external_id = $2;

-- name: list_grants
-- Newest first. $3, $4: the last row of the page before, or NULL. With the wallet's latest word on what remains of each.
SELECT g.grant_id, g.kind, g.priority, g.amount, g.currency, g.expires_at, g.created_at, g.expired_commit_id IS NOT NULL AS expired,
    (SELECT p.grants_after FROM postings p
     WHERE p.tenant_id = $1 AND p.account_id = $2 ORDER BY p.seq DESC LIMIT 1) AS grants_after
FROM grants g
WHERE g.tenant_id = $1 AND g.account_id = $2 AND ($3::timestamptz IS NULL OR (g.created_at, g.grant_id) < ($3, $4::uuid))
ORDER BY g.created_at DESC, g.grant_id DESC LIMIT $5;

-- name: history
-- Newest first, a stretch of the wallet's sequence. $3: below this sequence, or NULL. $4: kinds, or NULL. $5, $6: from, to (half-open).
SELECT p.seq, k.code AS kind, p.amount, p.balance_after, p.held_after, p.unbilled_after, p.grant_id, p.reference, p.posted_at,
    CASE WHEN k.code = 'void' THEN (
        SELECT v.idempotency_key FROM usage_voids v WHERE v.tenant_id = $1 AND v.key_hash = p.reference
    ) END AS idempotency_key,
    coalesce(d.code, CASE p.debit_account_id WHEN p.account_id THEN 'customer_wallet' WHEN p.account_id + 1 THEN 'customer_held'
        WHEN -p.account_id THEN 'customer_unbilled' END) AS debit_code,
    coalesce(c.code, CASE p.credit_account_id WHEN p.account_id THEN 'customer_wallet' WHEN p.account_id + 1 THEN 'customer_held'
        WHEN -p.account_id THEN 'customer_unbilled' END) AS credit_code
FROM postings p
JOIN posting_kinds k USING (kind)
LEFT JOIN system_accounts d ON d.account_id = p.debit_account_id
LEFT JOIN system_accounts c ON c.account_id = p.credit_account_id
WHERE p.tenant_id = $1 AND p.account_id = $2
    AND ($3::bigint IS NULL OR p.seq < $3)
    AND ($4::text[] IS NULL OR k.code = ANY ($4))
    AND ($5::timestamptz IS NULL OR p.posted_at >= $5)
    AND ($6::timestamptz IS NULL OR p.posted_at < $6)
ORDER BY p.seq DESC LIMIT $7;

-- name: hold
SELECT h.hold_id, c.external_id, h.amount, c.currency, h.status, h.captured, h.expires_at, h.created_at
FROM holds h JOIN customers c USING (tenant_id, account_id)
WHERE h.tenant_id = $1 AND h.hold_id = $2;
