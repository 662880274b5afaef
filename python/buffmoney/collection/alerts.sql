-- Statements of payment alerts.

-- name: insert_alert
-- NULL if the same was said before.
INSERT INTO payment_alerts (tenant_id, alert_id, kind, channel, order_no, subject, order_id, refund_id, amount, in_suspense, detail, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (tenant_id, kind, channel, order_no, subject) DO NOTHING RETURNING alert_id;

-- name: list_alerts
-- Newest first. $2, $3: the last row of the page before, or NULL.
SELECT * FROM payment_alerts WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR (created_at, alert_id) < ($2, $3::text))
ORDER BY created_at DESC, alert_id DESC LIMIT $4;
