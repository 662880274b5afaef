-- Statements of buffmoney.pricing.

-- name: next_version
-- Also the lock under which a tenant's cards and metrics are made one after the other.
UPDATE tenants SET catalog_version = catalog_version + 1 WHERE tenant_id = $1 RETURNING catalog_version, currency;

-- name: latest_effect
SELECT count(*) AS cards, bool_or(effective_from IS NOT DISTINCT FROM $2::timestamptz) AS taken FROM rate_cards WHERE tenant_id = $1;

-- name: metric_ids
SELECT code, metric_id FROM metrics WHERE tenant_id = $1;

-- name: insert_card
INSERT INTO rate_cards (tenant_id, rate_card_id, name, currency, effective_from, created_at) VALUES ($1, $2, $3, $4, $5, $6);

-- name: insert_charges
INSERT INTO rate_card_charges (tenant_id, rate_card_id, line, price_id, metric_id, match, price, per)
SELECT $1, $2, line - 1, nextval('price_ids'), metric_id, match::jsonb, price, per
FROM unnest($3::integer[], $4::text[], $5::numeric[], $6::numeric[]) WITH ORDINALITY AS charge (metric_id, match, price, per, line);

-- name: get_card
SELECT rate_card_id, name, currency, effective_from, created_at FROM rate_cards WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: get_charges
SELECT m.code AS metric, c.match::text AS match, c.price, c.per
FROM rate_card_charges c JOIN metrics m USING (tenant_id, metric_id)
WHERE c.tenant_id = $1 AND c.rate_card_id = $2 ORDER BY c.line;

-- name: list_cards
-- Newest first. $2, $3: the last row of the page before, or NULL.
SELECT r.rate_card_id, r.name, r.currency, r.effective_from, r.created_at,
       (SELECT count(*) FROM rate_card_charges c WHERE c.tenant_id = r.tenant_id AND c.rate_card_id = r.rate_card_id) AS charges
FROM rate_cards r
WHERE r.tenant_id = $1 AND ($2::timestamptz IS NULL OR (r.created_at, r.rate_card_id) < ($2, $3::text))
ORDER BY r.created_at DESC, r.rate_card_id DESC LIMIT $4;

-- name: list_metrics
SELECT metric_id, code, unit, created_at FROM metrics WHERE tenant_id = $1 ORDER BY metric_id;

-- name: insert_metric
INSERT INTO metrics (tenant_id, metric_id, code, unit, created_at)
SELECT $1, greatest(100, coalesce(max(metric_id) + 1, 100)), $2, $3, $4 FROM metrics WHERE tenant_id = $1
ON CONFLICT (tenant_id, code) DO NOTHING
RETURNING metric_id;

-- name: count_metrics
SELECT count(*) FROM metrics WHERE tenant_id = $1;

-- name: catalog
-- All that the engine needs to rate a tenant's usage, in one snapshot. Cards lie in order of effect, lines in the card's order.
SELECT json_build_object(
    'tenantId', t.tenant_id,
    'version', t.catalog_version,
    'currency', t.currency,
    'unknownCustomers', t.unknown_customers,
    -- A prepaid wallet has its floor at zero; pay-as-you-go has none.
    'defaultOverdraftLimit', CASE WHEN g.billing = 'prepaid' THEN '0' END,
    'metrics', (SELECT coalesce(json_agg(json_build_object('id', m.metric_id, 'code', m.code) ORDER BY m.metric_id), '[]'::json)
                FROM metrics m WHERE m.tenant_id = t.tenant_id),
    'rateCards', (
        SELECT coalesce(json_agg(json_build_object(
            'rateCardId', r.rate_card_id,
            'currency', r.currency,
            'effectiveFromUs', (extract(epoch FROM r.effective_from) * 1000000)::bigint,
            'charges', (
                SELECT coalesce(json_agg(json_build_object(
                    'priceId', c.price_id, 'metricId', c.metric_id, 'match', c.match,
                    'price', trim_scale(c.price)::text, 'per', trim_scale(c.per)::text) ORDER BY c.line), '[]'::json)
                FROM rate_card_charges c WHERE c.tenant_id = r.tenant_id AND c.rate_card_id = r.rate_card_id)
            ) ORDER BY r.effective_from NULLS FIRST, r.created_at, r.rate_card_id), '[]'::json)
        FROM rate_cards r WHERE r.tenant_id = t.tenant_id)
    )::text
FROM tenants t JOIN merchants g USING (merchant_id) WHERE t.tenant_id = $1;
