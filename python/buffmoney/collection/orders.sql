-- Statements of payment orders and their settlement.

-- name: lock_order
-- The top-up first, then the order: everybody locks in this sequence.
SELECT o.order_id, o.top_up_id, o.order_no, o.channel, o.product, o.channel_account_id, o.collector_id, o.app_id, o.amount, o.currency, o.status,
    o.expires_at, o.transaction_id, o.suspended_at, o.refunds,
    (SELECT a.sub_merchant_id FROM channel_accounts a
     WHERE a.tenant_id = o.tenant_id AND a.channel_account_id = o.channel_account_id) AS sub_merchant_id,
    u.customer, u.status AS top_up_status, u.promotion_id, u.bonus, u.paid_valid_days, u.bonus_valid_days
FROM top_ups u JOIN payment_orders o ON o.tenant_id = u.tenant_id AND o.top_up_id = u.top_up_id
WHERE o.tenant_id = $1 AND o.channel = $2 AND o.order_no = $3
FOR UPDATE OF u, o;

-- name: credit
-- The order is paid, and with it its top-up.
WITH paid AS (
    UPDATE payment_orders SET status = 'paid', outcome = 'credited', transaction_id = $3, payer = $4, paid_at = $5, settled_at = $6, settled_by = $7,
        suspended_at = NULL, next_poll_at = NULL
    WHERE tenant_id = $1 AND order_id = $2 RETURNING top_up_id
)
UPDATE top_ups SET status = 'paid', paid_order_id = $2, paid_at = $5, settled_at = $6, bonus_granted = $8, paid_grant_id = $9, bonus_grant_id = $10
WHERE tenant_id = $1 AND top_up_id = (SELECT top_up_id FROM paid);

-- name: pay_back
-- The order is paid, and nothing is bought with it.
UPDATE payment_orders SET status = 'paid', outcome = 'refunded', transaction_id = $3, payer = $4, paid_at = $5, settled_at = $6, settled_by = $7,
    suspended_at = NULL, next_poll_at = NULL
WHERE tenant_id = $1 AND order_id = $2;

-- name: suspend
UPDATE payment_orders SET suspended_at = $3, next_poll_at = NULL WHERE tenant_id = $1 AND order_id = $2;

-- name: insert_order
INSERT INTO payment_orders (tenant_id, order_id, order_no, top_up_id, channel, product, channel_account_id, collector_id, app_id, amount, currency,
    payer_openid, client_ip, created_at, expires_at, next_poll_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: orders_of
-- Of a top-up, the oldest first.
SELECT * FROM payment_orders WHERE tenant_id = $1 AND top_up_id = $2 ORDER BY created_at, order_id;

-- name: order
SELECT * FROM payment_orders WHERE tenant_id = $1 AND order_id = $2;

-- name: order_to_poll
-- wanted: whether its top-up is still to be paid; of one that was canceled or paid otherwise the order is closed at its channel.
SELECT o.*, u.settled_at IS NULL AND u.canceled_at IS NULL AS wanted
FROM payment_orders o JOIN top_ups u USING (tenant_id, top_up_id) WHERE o.tenant_id = $1 AND o.order_id = $2;

-- name: order_started
UPDATE payment_orders SET status = CASE WHEN status = 'created' THEN 'pending' ELSE status END, started = $3, started_at = $4
WHERE tenant_id = $1 AND order_id = $2 AND status IN ('created', 'pending');

-- name: order_failed
UPDATE payment_orders SET status = 'failed', failure = $3, next_poll_at = NULL
WHERE tenant_id = $1 AND order_id = $2 AND status = 'created';

-- name: order_closed
-- Looked at once more at $4, NULL: not any more.
UPDATE payment_orders SET status = 'closed', closed_at = $3, next_poll_at = $4
WHERE tenant_id = $1 AND order_id = $2 AND status IN ('created', 'pending');

-- name: may_ask
-- The page asks at most every so often, whoever else looks at it.
UPDATE payment_orders SET asked_at = $3 WHERE tenant_id = $1 AND order_id = $2 AND (asked_at IS NULL OR asked_at <= $4) RETURNING order_id;

-- name: claim_due
-- Orders to ask the channel about. Whoever claims one has until $2 before another worker tries.
UPDATE payment_orders o SET next_poll_at = $2, polls = o.polls + 1, asked_at = $1
FROM tenants t
WHERE t.tenant_id = o.tenant_id AND (o.tenant_id, o.order_id) IN (
    SELECT tenant_id, order_id FROM payment_orders WHERE next_poll_at <= $1 AND channel = $4 ORDER BY next_poll_at LIMIT $3
    FOR UPDATE SKIP LOCKED)
RETURNING o.tenant_id, o.order_id, t.merchant_id, t.mode, t.partition_id, t.currency;

-- name: poll_again
UPDATE payment_orders SET next_poll_at = $3 WHERE tenant_id = $1 AND order_id = $2 AND next_poll_at IS NOT NULL;

-- name: refused_grants
-- Payments of the last hours whose credits the core has refused, and that are not refunded yet.
SELECT u.tenant_id, t.merchant_id, t.mode, t.partition_id, t.currency, u.paid_order_id
FROM top_ups u JOIN tenants t USING (tenant_id)
JOIN wallet_outbox w ON w.tenant_id = u.tenant_id AND w.command_id = u.paid_grant_id
WHERE u.settled_at >= $1 AND w.refused IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.tenant_id = u.tenant_id AND r.order_id = u.paid_order_id)
LIMIT 100;

-- name: suspended_amount
SELECT sum(CASE kind WHEN 'suspense' THEN amount ELSE -amount END) FROM cash_postings
WHERE tenant_id = $1 AND order_id = $2 AND kind IN ('suspense', 'suspense_release')
HAVING sum(CASE kind WHEN 'suspense' THEN amount ELSE -amount END) > 0;
