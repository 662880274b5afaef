-- Statements of refunds.

-- name: insert_refund
-- Due at once; a trigger sees to it that the sum stays within the payment.
INSERT INTO refunds (tenant_id, refund_id, refund_no, order_id, top_up_id, cause, amount, paid_taken, bonus_taken, command_id, reason, status, made_by,
    created_at, next_step_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14);

-- name: refund
SELECT r.*, o.channel, o.order_no, o.amount AS total, o.channel_account_id, o.transaction_id, u.customer, u.paid_grant_id, u.bonus_grant_id
FROM refunds r JOIN payment_orders o USING (tenant_id, order_id) JOIN top_ups u ON u.tenant_id = r.tenant_id AND u.top_up_id = r.top_up_id
WHERE r.tenant_id = $1 AND r.refund_id = $2;

-- name: refund_by_number
SELECT refund_id FROM refunds WHERE tenant_id = $1 AND refund_no = $2;

-- name: lock_refund
-- The top-up first, as everywhere.
SELECT r.status, r.amount FROM top_ups u JOIN payment_orders o ON o.tenant_id = u.tenant_id AND o.top_up_id = u.top_up_id
JOIN refunds r ON r.tenant_id = o.tenant_id AND r.order_id = o.order_id
WHERE r.tenant_id = $1 AND r.refund_id = $2 FOR UPDATE OF u, o, r;

-- name: paid_top_up
-- A top-up with its payment, both locked, as far as it is paid.
SELECT u.status, u.customer, u.amount, u.paid_at, u.refund_window_days, u.bonus_granted, u.paid_grant_id, u.bonus_grant_id, u.paid_order_id,
    o.channel, o.order_no, o.refunds
FROM top_ups u LEFT JOIN payment_orders o ON o.tenant_id = u.tenant_id AND o.order_id = u.paid_order_id
WHERE u.tenant_id = $1 AND u.top_up_id = $2 FOR UPDATE OF u;

-- name: refunded_so_far
-- What was asked for and not refused, and how much of the bonus that was due for it.
SELECT coalesce(sum(amount), 0) AS amount, coalesce(sum(paid_taken + bonus_taken - amount) FILTER (WHERE cause = 'merchant'), 0) AS bonus_due
FROM refunds WHERE tenant_id = $1 AND order_id = $2 AND status NOT IN ('closed', 'refused');

-- name: count_refund
UPDATE payment_orders SET refunds = refunds + 1 WHERE tenant_id = $1 AND order_id = $2 RETURNING refunds;

-- name: what_is_left
-- What the ledger says remains of two grants, as of the wallet's latest posting.
SELECT g.grant_id, g.expired_commit_id IS NOT NULL OR g.expires_at <= $4 AS expired,
    (SELECT p.grants_after FROM postings p WHERE p.tenant_id = g.tenant_id AND p.account_id = g.account_id ORDER BY p.seq DESC LIMIT 1) AS grants_after
FROM grants g WHERE g.tenant_id = $1 AND g.grant_id IN ($2, $3);

-- name: grant_terms
SELECT grant_id, kind, priority, expires_at FROM grants WHERE tenant_id = $1 AND grant_id IN ($2, $3);

-- name: step
UPDATE refunds SET status = $3, failure = $4, channel_refund_id = coalesce($5, channel_refund_id), submitted_at = coalesce(submitted_at, $6),
    succeeded_at = $7, next_step_at = $8
WHERE tenant_id = $1 AND refund_id = $2;

-- name: wait
UPDATE refunds SET next_step_at = $3, steps = steps + 1, failure = coalesce($4, failure)
WHERE tenant_id = $1 AND refund_id = $2 AND next_step_at IS NOT NULL;

-- name: claim_due
-- Whoever claims a refund has until $2 before another worker tries.
UPDATE refunds r SET next_step_at = $2 FROM tenants t
WHERE t.tenant_id = r.tenant_id AND (r.tenant_id, r.refund_id) IN (
    SELECT tenant_id, refund_id FROM refunds d JOIN payment_orders o USING (tenant_id, order_id)
    WHERE d.next_step_at <= $1 AND o.channel = $4 ORDER BY d.next_step_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED)
RETURNING r.tenant_id, r.refund_id, t.merchant_id, t.mode, t.partition_id, t.currency;

-- name: list_refunds
SELECT r.*, o.channel FROM refunds r JOIN payment_orders o USING (tenant_id, order_id)
WHERE r.tenant_id = $1 AND r.top_up_id = $2 ORDER BY r.created_at, r.refund_id;

-- name: is_top_up
SELECT EXISTS (SELECT 1 FROM top_ups WHERE tenant_id = $1 AND top_up_id = $2);

-- name: is_refunded
-- Whether a refund of an order was ever asked for.
SELECT EXISTS (SELECT 1 FROM refunds WHERE tenant_id = $1 AND order_id = $2);
