-- Statements of buffmoney.pricing.

-- name: next_version
-- Also the lock under which a tenant's cards and metrics are made one after the other.
UPDATE tenants SET catalog_version = catalog_version + 1 WHERE tenant_id = $1 RETURNING catalog_version, currency;

-- name: lock_tenant
-- The same lock, where nothing changes that the engine knows.
SELECT currency, current_billing() AS billing FROM tenants WHERE tenant_id = $1 FOR NO KEY UPDATE;

-- name: list_products
SELECT product_id, code, name, created_at FROM products WHERE tenant_id = $1 ORDER BY created_at, product_id;

-- name: get_product
SELECT product_id, code, name, created_at FROM products WHERE tenant_id = $1 AND product_id = $2;

-- name: default_product
SELECT product_id FROM products WHERE tenant_id = $1 AND code = 'default';

-- name: count_products
SELECT count(*) FROM products WHERE tenant_id = $1;

-- name: insert_product
INSERT INTO products (tenant_id, product_id, code, name, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, code) DO NOTHING
RETURNING product_id;

-- name: published
-- How many versions for everyone a product has, the number of the next one, and whether one of those takes effect at this very moment.
SELECT count(*) FILTER (WHERE audience = 'everyone') AS cards, coalesce(max(version), 0) + 1 AS next,
    bool_or(effective_from IS NOT DISTINCT FROM $3::timestamptz) FILTER (WHERE audience = 'everyone') AS taken
FROM rate_cards WHERE tenant_id = $1 AND product_id = $2 AND status = 'published';

-- name: metric_ids
SELECT code, metric_id FROM metrics WHERE tenant_id = $1;

-- name: insert_card
-- Every card begins as a draft.
INSERT INTO rate_cards (tenant_id, rate_card_id, product_id, name, currency, effective_from, created_at, audience)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: insert_charges
INSERT INTO rate_card_charges (tenant_id, rate_card_id, metric_id, match, model, price, per, percent, minimum, allowance, tiers, currency, line,
    minimum_per_period, blocks)
SELECT $1, $2, metric_id, match::jsonb, model, price, per, percent, minimum, allowance, tiers::jsonb, currency, line, minimum_per_period,
    blocks
FROM unnest($3::integer[], $4::text[], $5::text[], $6::numeric[], $7::numeric[], $8::numeric[], $9::numeric[], $10::numeric[], $11::text[],
            $12::text[], $13::integer[], $14::numeric[], $15::text[])
    AS charge (metric_id, match, model, price, per, percent, minimum, allowance, tiers, currency, line, minimum_per_period, blocks);

-- name: delete_charges
DELETE FROM rate_card_charges WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: delete_card
DELETE FROM rate_cards WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: update_card
UPDATE rate_cards SET product_id = $3, name = $4, currency = $5, effective_from = $6, audience = $7
WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: claim_metrics
-- What a card prices belongs to its product from now on.
INSERT INTO product_metrics (tenant_id, metric_id, product_id)
SELECT DISTINCT tenant_id, metric_id, $3 FROM rate_card_charges WHERE tenant_id = $1 AND rate_card_id = $2
ON CONFLICT (tenant_id, metric_id) DO NOTHING;

-- name: foreign_metric
-- A line of the card whose metric another product prices, with that product and the card's own.
SELECT c.line, m.code AS metric, other.code AS theirs, own.code AS ours
FROM rate_card_charges c
JOIN product_metrics o USING (tenant_id, metric_id)
JOIN metrics m USING (tenant_id, metric_id)
JOIN products other ON other.tenant_id = c.tenant_id AND other.product_id = o.product_id
JOIN products own ON own.tenant_id = c.tenant_id AND own.product_id = $3
WHERE c.tenant_id = $1 AND c.rate_card_id = $2 AND o.product_id <> $3
ORDER BY c.line LIMIT 1;

-- name: counters
SELECT counter_id, metric_id, match::text AS match, measure FROM usage_counters WHERE tenant_id = $1 AND product_id = $2;

-- name: counters_before
-- Those that were named before the moment $3; all if it is NULL.
SELECT m.code AS metric, u.match::text AS match, u.measure
FROM usage_counters u JOIN metrics m USING (tenant_id, metric_id)
WHERE u.tenant_id = $1 AND u.product_id = $2 AND ($3::timestamptz IS NULL OR u.created_at < $3);

-- name: name_counters
INSERT INTO usage_counters (tenant_id, counter_id, product_id, metric_id, match, measure, created_at)
SELECT $1, nextval('counter_ids'), $2, metric_id, match::jsonb, measure, $6
FROM unnest($3::integer[], $4::text[], $5::text[]) AS named (metric_id, match, measure)
RETURNING counter_id, metric_id, match::text AS match, measure;

-- name: number_charges
-- The names by which usage events will know the lines. $3, $4, $5: the counters of each line, 0 for those that have none.
UPDATE rate_card_charges SET price_id = nextval('price_ids'), counter_id = nullif(($3::integer[])[line + 1], 0),
    period_quantity_counter_id = nullif(($4::integer[])[line + 1], 0), period_charge_counter_id = nullif(($5::integer[])[line + 1], 0)
WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: publish_card
UPDATE rate_cards SET status = 'published', version = $3, effective_from = $4, published_at = $5, audience = $6
WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: get_card
SELECT rate_card_id, product_id, name, currency, audience, status, version, effective_from, created_at, published_at
FROM rate_cards WHERE tenant_id = $1 AND rate_card_id = $2;

-- name: version_before
-- The version for everyone that is in force until the moment $3.
SELECT rate_card_id FROM rate_cards
WHERE tenant_id = $1 AND product_id = $2 AND status = 'published' AND audience = 'everyone' AND (effective_from IS NULL OR effective_from < $3)
ORDER BY effective_from DESC NULLS LAST, version DESC LIMIT 1;

-- name: get_charges
SELECT m.code AS metric, c.match::text AS match, c.model, c.price, c.per, c.percent, c.minimum, c.allowance, c.tiers::text AS tiers,
    c.currency, c.line, c.minimum_per_period, c.blocks
FROM rate_card_charges c JOIN rate_cards r USING (tenant_id, rate_card_id) JOIN metrics m USING (tenant_id, metric_id)
WHERE c.tenant_id = $1 AND c.rate_card_id = $2 ORDER BY c.line, c.currency <> r.currency, c.currency;

-- name: list_cards
-- Newest first. $2, $3: the last row of the page before, or NULL. $5: of one product; $6: of one status; NULL for all. $7: now.
SELECT r.rate_card_id, r.product_id, r.name, r.currency, r.audience, r.status, r.version, r.effective_from, r.created_at, r.published_at,
       CASE WHEN r.status = 'draft' THEN 'draft'
            WHEN r.audience = 'assigned' THEN 'by_assignment'
            WHEN EXISTS (SELECT FROM rate_cards o WHERE o.tenant_id = r.tenant_id AND o.product_id = r.product_id AND o.status = 'published'
                         AND o.audience = 'everyone' AND o.effective_from = r.effective_from AND o.version > r.version) THEN 'replaced'
            WHEN r.effective_from > $7 THEN 'scheduled'
            WHEN EXISTS (SELECT FROM rate_cards o WHERE o.tenant_id = r.tenant_id AND o.product_id = r.product_id AND o.status = 'published'
                         AND o.audience = 'everyone' AND o.effective_from <= $7
                         AND o.effective_from > coalesce(r.effective_from, '-infinity')) THEN 'past'
            ELSE 'in_force' END AS state,
       (SELECT count(DISTINCT c.line) FROM rate_card_charges c WHERE c.tenant_id = r.tenant_id AND c.rate_card_id = r.rate_card_id) AS charges
FROM rate_cards r
WHERE r.tenant_id = $1 AND ($2::timestamptz IS NULL OR (r.created_at, r.rate_card_id) < ($2, $3::text))
  AND ($5::text IS NULL OR r.product_id = $5) AND ($6::text IS NULL OR r.status = $6)
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
-- All that the engine needs to rate a tenant's usage, in one snapshot. Cards lie in order of effect, of one product those with the same start
-- by version, since the last one counts; lines in the card's order. Whether a line has a model other than per_unit, a percentage, a minimum,
-- an allowance, tiers, blocks of the period or a currency other than the card's shows in the JSON only if it has.
SELECT period_settings(t.tenant_id), EXISTS (SELECT FROM usage_counters u WHERE u.tenant_id = t.tenant_id) AS counts, json_build_object(
    'tenantId', t.tenant_id,
    'version', t.catalog_version,
    'currency', t.currency,
    'unknownCustomers', t.unknown_customers,
    -- A prepaid wallet has its floor at zero; what pay-as-you-go may owe unbilled has no limit.
    'defaultOverdraftLimit', CASE WHEN g.billing = 'prepaid' THEN '0' END,
    'accrues', g.billing = 'pay-as-you-go',
    'metrics', (SELECT coalesce(json_agg(json_build_object('id', m.metric_id, 'code', m.code) ORDER BY m.metric_id), '[]'::json)
                FROM metrics m WHERE m.tenant_id = t.tenant_id),
    'rateCards', (
        SELECT coalesce(json_agg(json_build_object(
            'rateCardId', r.rate_card_id,
            'productId', r.product_id,
            'currency', r.currency,
            'audience', r.audience,
            'effectiveFromUs', (extract(epoch FROM r.effective_from) * 1000000)::bigint,
            'charges', (
                SELECT coalesce(json_agg(json_strip_nulls(json_build_object(
                    'priceId', c.price_id, 'metricId', c.metric_id, 'match', c.match, 'model', nullif(c.model, 'per_unit'),
                    'currency', nullif(c.currency, r.currency),
                    'price', trim_scale(c.price)::text, 'per', trim_scale(c.per)::text,
                    'percent', trim_scale(c.percent)::text, 'minimum', trim_scale(c.minimum)::text,
                    'counterId', c.counter_id, 'allowance', trim_scale(c.allowance)::text, 'tiers', c.tiers,
                    'blocks', nullif(c.blocks, 'event'),
                    'minimumPerPeriod', trim_scale(c.minimum_per_period)::text,
                    'periodQuantityCounterId', c.period_quantity_counter_id, 'periodChargeCounterId', c.period_charge_counter_id)) ORDER BY c.line, c.currency), '[]'::json)
                FROM rate_card_charges c WHERE c.tenant_id = r.tenant_id AND c.rate_card_id = r.rate_card_id)
            ) ORDER BY r.effective_from NULLS FIRST, r.version, r.rate_card_id), '[]'::json)
        FROM rate_cards r WHERE r.tenant_id = t.tenant_id AND r.status = 'published'),
    'assignments', (
        SELECT coalesce(json_agg(json_build_object(
            'accountId', a.account_id, 'productId', a.product_id, 'rateCardId', a.rate_card_id,
            'effectiveFromUs', (extract(epoch FROM a.effective_from) * 1000000)::bigint
            ) ORDER BY a.effective_from, a.account_id, a.product_id, a.sequence), '[]'::json)
        FROM customer_rate_cards a WHERE a.tenant_id = t.tenant_id)
    )::text AS catalog
FROM tenants t JOIN merchants g USING (merchant_id) WHERE t.tenant_id = $1;

-- name: customer
SELECT account_id, currency FROM customers WHERE tenant_id = $1 AND external_id = $2;

-- name: assignments
-- Of one customer, those made last first. $3: of one product, or NULL for all.
SELECT a.product_id, a.sequence, a.rate_card_id, r.name, r.version, a.effective_from, a.created_at
FROM customer_rate_cards a LEFT JOIN rate_cards r USING (tenant_id, rate_card_id)
WHERE a.tenant_id = $1 AND a.account_id = $2 AND ($3::text IS NULL OR a.product_id = $3)
ORDER BY a.created_at DESC, a.product_id, a.sequence DESC;

-- name: count_assignments
SELECT count(*) FROM customer_rate_cards WHERE tenant_id = $1;

-- name: insert_assignment
INSERT INTO customer_rate_cards (tenant_id, account_id, product_id, sequence, effective_from, rate_card_id, created_at)
SELECT $1, $2, $3, coalesce(max(sequence), 0) + 1, $4, $5, $6
FROM customer_rate_cards WHERE tenant_id = $1 AND account_id = $2 AND product_id = $3;
