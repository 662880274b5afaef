-- Statements of top-ups, their settings and promotions.

-- name: settings
SELECT display_name, tiers, free_amount_minimum, free_amount_maximum, paid_valid_days, bonus_valid_days, refund_window_days, checkout_valid_minutes
FROM top_up_settings WHERE tenant_id = $1;

-- name: put_settings
INSERT INTO top_up_settings (tenant_id, display_name, tiers, free_amount_minimum, free_amount_maximum, paid_valid_days, bonus_valid_days,
    refund_window_days, checkout_valid_minutes, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (tenant_id) DO UPDATE SET display_name = $2, tiers = $3, free_amount_minimum = $4, free_amount_maximum = $5, paid_valid_days = $6,
    bonus_valid_days = $7, refund_window_days = $8, checkout_valid_minutes = $9, updated_at = $10;

-- name: count_promotions
SELECT count(*) FROM promotions WHERE tenant_id = $1;

-- name: insert_promotion
INSERT INTO promotions (tenant_id, promotion_id, name, buy_amount, get_amount, repeats, first_purchase_only, uses_per_customer, bonus_valid_days,
    starts_at, ends_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING *;

-- name: lock_promotion
SELECT * FROM promotions WHERE tenant_id = $1 AND promotion_id = $2 FOR UPDATE;

-- name: end_promotion
UPDATE promotions SET ended_at = $3 WHERE tenant_id = $1 AND promotion_id = $2;

-- name: list_promotions
SELECT * FROM promotions WHERE tenant_id = $1 ORDER BY created_at DESC, promotion_id DESC;

-- name: promotions_for
-- In force at $3, and not used up by customer $2; oldest first.
SELECT p.promotion_id, p.buy_amount, p.get_amount, p.repeats, p.bonus_valid_days FROM promotions p
WHERE p.tenant_id = $1 AND p.ended_at IS NULL AND p.starts_at <= $3 AND (p.ends_at IS NULL OR p.ends_at > $3)
    AND (NOT p.first_purchase_only OR NOT EXISTS (
        SELECT 1 FROM top_ups u WHERE u.tenant_id = $1 AND u.customer = $2 AND u.status = 'paid'))
    AND (p.uses_per_customer IS NULL OR p.uses_per_customer > (
        SELECT count(*) FROM top_ups u
        WHERE u.tenant_id = $1 AND u.customer = $2 AND u.status = 'paid' AND u.promotion_id = p.promotion_id AND u.bonus_granted > 0))
ORDER BY p.created_at, p.promotion_id;

-- name: promotion_counts
-- Whether customer $3 can have promotion $2 with the next payment; its window was looked at when it was promised.
SELECT (NOT p.first_purchase_only OR NOT EXISTS (
        SELECT 1 FROM top_ups u WHERE u.tenant_id = $1 AND u.customer = $3 AND u.status = 'paid'))
    AND (p.uses_per_customer IS NULL OR p.uses_per_customer > (
        SELECT count(*) FROM top_ups u
        WHERE u.tenant_id = $1 AND u.customer = $3 AND u.status = 'paid' AND u.promotion_id = p.promotion_id AND u.bonus_granted > 0))
FROM promotions p WHERE p.tenant_id = $1 AND p.promotion_id = $2;

-- name: lock_customer
SELECT pg_advisory_xact_lock(hashtextextended('settle ' || $1, 0));

-- name: buyer
-- What is known of customer $2, and what becomes of customers that are not known.
SELECT t.unknown_customers, c.currency FROM tenants t
LEFT JOIN customers c ON c.tenant_id = t.tenant_id AND c.external_id = $2
WHERE t.tenant_id = $1;

-- name: insert_top_up
INSERT INTO top_ups (tenant_id, top_up_id, customer, amount, currency, promotion_id, bonus, paid_valid_days, bonus_valid_days, refund_window_days,
    token_hash, return_url, locale, made_by, request_id, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: top_up
-- With what was paid and refunded of it, and when its credits had arrived: the bonus, too, unless the core has refused that.
SELECT u.*, o.channel, o.order_no, o.transaction_id,
    CASE WHEN w.applied_at IS NOT NULL AND (u.bonus_grant_id IS NULL OR b.result IS NOT NULL)
        THEN greatest(w.applied_at, b.applied_at) END AS credited_at,
    (SELECT coalesce(sum(r.amount), 0) FROM refunds r
     WHERE r.tenant_id = u.tenant_id AND r.order_id = u.paid_order_id AND r.status NOT IN ('closed', 'refused')) AS refunded
FROM top_ups u
LEFT JOIN payment_orders o ON o.tenant_id = u.tenant_id AND o.order_id = u.paid_order_id
LEFT JOIN wallet_outbox w ON w.tenant_id = u.tenant_id AND w.command_id = u.paid_grant_id
LEFT JOIN wallet_outbox b ON b.tenant_id = u.tenant_id AND b.command_id = u.bonus_grant_id
WHERE u.tenant_id = $1 AND u.top_up_id = $2;

-- name: list_top_ups
-- Newest first. $2: customer, or NULL; $3, $4: the last row of the page before, or NULL.
SELECT u.*, o.channel, o.order_no, o.transaction_id,
    CASE WHEN w.applied_at IS NOT NULL AND (u.bonus_grant_id IS NULL OR b.result IS NOT NULL)
        THEN greatest(w.applied_at, b.applied_at) END AS credited_at,
    (SELECT coalesce(sum(r.amount), 0) FROM refunds r
     WHERE r.tenant_id = u.tenant_id AND r.order_id = u.paid_order_id AND r.status NOT IN ('closed', 'refused')) AS refunded
FROM top_ups u
LEFT JOIN payment_orders o ON o.tenant_id = u.tenant_id AND o.order_id = u.paid_order_id
LEFT JOIN wallet_outbox w ON w.tenant_id = u.tenant_id AND w.command_id = u.paid_grant_id
LEFT JOIN wallet_outbox b ON b.tenant_id = u.tenant_id AND b.command_id = u.bonus_grant_id
WHERE u.tenant_id = $1 AND ($2::text IS NULL OR u.customer = $2)
    AND ($3::timestamptz IS NULL OR (u.created_at, u.top_up_id) < ($3, $4::text))
ORDER BY u.created_at DESC, u.top_up_id DESC LIMIT $5;

-- name: lock_top_up
-- Until the end of the transaction: everything that belongs to a top-up changes under this lock.
SELECT * FROM top_ups WHERE tenant_id = $1 AND top_up_id = $2 FOR UPDATE;

-- name: cancel_top_up
UPDATE top_ups SET status = 'canceled', canceled_at = $3 WHERE tenant_id = $1 AND top_up_id = $2;

-- name: bare_top_up
SELECT * FROM top_ups WHERE tenant_id = $1 AND top_up_id = $2;

-- name: checkout_top_up
-- Before a tenant is known.
SELECT tenant_id, merchant_id, mode, partition_id, currency, top_up_id, merchant_name FROM checkout_top_up($1);

-- name: balance
-- What customer $2 can spend, by the ledger.
SELECT coalesce((SELECT p.balance_after FROM postings p
    WHERE p.tenant_id = c.tenant_id AND p.account_id = c.account_id ORDER BY p.seq DESC LIMIT 1), 0)
FROM customers c WHERE c.tenant_id = $1 AND c.external_id = $2;
