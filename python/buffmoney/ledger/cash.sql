-- Statements of the cash book.

-- name: begin
-- By the schema's owner, with the tenant itself.
INSERT INTO cash_heads (tenant_id, seq, chain_hash, mac) VALUES ($1, 0, $2, $3);

-- name: without_book
-- Tenants from before there was a cash book.
SELECT t.tenant_id FROM tenants t LEFT JOIN cash_heads h USING (tenant_id) WHERE h.tenant_id IS NULL ORDER BY 1;

-- name: lock_head
-- Until the end of the transaction: who posts for the same tenant meanwhile waits here.
SELECT seq, chain_hash, mac FROM cash_heads WHERE tenant_id = $1 FOR UPDATE;

-- name: append
WITH posting AS (
    INSERT INTO cash_postings (tenant_id, posted_at, seq, chain_hash, kind, debit_account_id, credit_account_id, amount, order_id, refund_id,
        channel, occurred_at)
    SELECT $1, $5, one.* FROM unnest($6::bigint[], $7::bytea[], $8::text[], $9::bigint[], $10::bigint[], $11::numeric[], $12::text[],
        $13::text[], $14::text[], $15::timestamptz[]) AS one
)
UPDATE cash_heads SET seq = $2, chain_hash = $3, mac = $4 WHERE tenant_id = $1;

-- name: order_sums
-- What the book holds of a paid order.
SELECT channel,
    coalesce(sum(amount) FILTER (WHERE kind = 'payment'), 0) AS amount,
    coalesce(sum(amount) FILTER (WHERE kind = 'channel_fee'), 0) AS channel_fee,
    coalesce(sum(amount) FILTER (WHERE kind = 'platform_fee'), 0) AS platform_fee,
    coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded
FROM cash_postings WHERE tenant_id = $1 AND order_id = $2
GROUP BY channel HAVING count(*) FILTER (WHERE kind = 'payment') = 1;

-- name: balances
-- Every account of the book, also those that nothing was posted to. A debit makes more of an asset or an expense, and less of the others.
SELECT a.code, coalesce(sum(CASE WHEN (a.class IN ('asset', 'expense')) = moved.debit THEN moved.amount ELSE -moved.amount END), 0) AS balance
FROM system_accounts a
LEFT JOIN (
    SELECT debit_account_id AS account_id, true AS debit, sum(amount) AS amount FROM cash_postings WHERE tenant_id = $1 GROUP BY 1
    UNION ALL
    SELECT credit_account_id, false, sum(amount) FROM cash_postings WHERE tenant_id = $1 GROUP BY 1
) AS moved USING (account_id)
WHERE a.account_id BETWEEN 20 AND 29
GROUP BY a.account_id, a.code ORDER BY a.account_id;
