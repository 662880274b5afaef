-- Statements of simulations. All of them only read.

-- name: card
-- Whole rows as JSON: whatever fields later models add to a line are part of it.
SELECT to_jsonb(r)::text AS card,
    (SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.line, c.currency), '[]')
     FROM rate_card_charges c WHERE c.tenant_id = r.tenant_id AND c.rate_card_id = r.rate_card_id)::text AS charges
FROM rate_cards r WHERE r.tenant_id = $1 AND r.rate_card_id = $2;

-- name: catalog
-- As pricing/catalog.py has it for the engine, but readable to the edge and with no more than rating needs: of the published cards only
-- which product's they are and what they price.
SELECT json_build_object(
    'tenantId', t.tenant_id,
    'version', t.catalog_version,
    'currency', t.currency,
    'unknownCustomers', t.unknown_customers,
    'defaultOverdraftLimit', NULL,
    'metrics', (SELECT coalesce(json_agg(json_build_object('id', m.metric_id, 'code', m.code)), '[]')
                FROM metrics m WHERE m.tenant_id = t.tenant_id),
    'rateCards', (
        SELECT coalesce(json_agg(json_build_object(
            'productId', r.product_id,
            'charges', (SELECT coalesce(json_agg(DISTINCT jsonb_build_object('metricId', c.metric_id)), '[]') FROM rate_card_charges c
                        WHERE c.tenant_id = r.tenant_id AND c.rate_card_id = r.rate_card_id))), '[]')
        FROM rate_cards r WHERE r.tenant_id = t.tenant_id AND r.status = 'published')
    )::text
FROM tenants t WHERE t.tenant_id = $1;

-- name: periods
SELECT period_settings($1);

-- name: account
SELECT account_id FROM customers WHERE tenant_id = $1 AND external_id = $2;

-- name: currency
SELECT currency FROM customers WHERE tenant_id = $1 AND external_id = $2;

-- name: other_currencies
-- Whether there are customers of another currency than this one.
SELECT EXISTS (SELECT FROM customers WHERE tenant_id = $1 AND currency < $2) OR EXISTS (SELECT FROM customers WHERE tenant_id = $1 AND currency > $2);

-- name: names
SELECT account_id, external_id FROM customers WHERE tenant_id = $1 AND account_id = ANY($2::bigint[]);

-- name: rolled_up
-- About how many events there are, for the progress bar.
SELECT coalesce(sum(events), 0)::bigint FROM usage_rollups
WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR bucket >= $2) AND ($3::timestamptz IS NULL OR bucket < $3)
    AND ($4::bigint IS NULL OR account_id = $4);

-- name: match_voids_by_hash
-- Statistics say nothing of voids that came by the thousand a moment ago: one hash table of them is right whatever they say, and looking
-- through them all for each event never is.
SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off;

-- name: events
-- By COPY BINARY into the Rust simulation, which names the columns. After the tenant: from and to, the times of arrival between which such
-- events can lie (they decide which days' tables are read), account, most rows, customers' currency; each NULL for all.
SELECT account_id, metric_id, occurred_at, quantity, charge, dimensions
FROM usage_events e
WHERE tenant_id = $1
    AND ($2::timestamptz IS NULL OR occurred_at >= $2) AND ($3::timestamptz IS NULL OR occurred_at < $3)
    AND ($4::timestamptz IS NULL OR accepted_at >= $4) AND ($5::timestamptz IS NULL OR accepted_at < $5)
    AND ($6::bigint IS NULL OR account_id = $6)
    AND ($8::text IS NULL OR account_id IN (SELECT account_id FROM customers WHERE tenant_id = $1 AND currency = $8))
    -- An event is voided by a later commit, and its void names its own.
    AND NOT EXISTS (SELECT FROM usage_voids v
                    WHERE v.tenant_id = $1 AND v.event_commit_id = e.commit_id AND v.idempotency_key = e.idempotency_key)
LIMIT $7::bigint;

-- name: events_in_order
-- The same in the order in which they were counted: commit by commit, and in each as they were written.
SELECT account_id, metric_id, occurred_at, quantity, charge, dimensions
FROM usage_events e
WHERE tenant_id = $1
    AND ($2::timestamptz IS NULL OR occurred_at >= $2) AND ($3::timestamptz IS NULL OR occurred_at < $3)
    AND ($4::timestamptz IS NULL OR accepted_at >= $4) AND ($5::timestamptz IS NULL OR accepted_at < $5)
    AND ($6::bigint IS NULL OR account_id = $6)
    AND ($8::text IS NULL OR account_id IN (SELECT account_id FROM customers WHERE tenant_id = $1 AND currency = $8))
    AND NOT EXISTS (SELECT FROM usage_voids v
                    WHERE v.tenant_id = $1 AND v.event_commit_id = e.commit_id AND v.idempotency_key = e.idempotency_key)
ORDER BY commit_id, ctid
LIMIT $7::bigint;

-- name: period_charges
-- What periods were charged at their ends that begin between $2 and $3. $4: account, or NULL for all; $5: customers' currency.
SELECT DISTINCT ON (y.account_id, y.period_start, y.counter_id) y.account_id, u.metric_id, y.period_start, y.total::text AS total
FROM period_charges y
JOIN usage_counters u USING (tenant_id, counter_id)
JOIN customers c ON c.tenant_id = y.tenant_id AND c.account_id = y.account_id AND c.currency = $5
WHERE y.tenant_id = $1 AND y.period_start >= $2 AND y.period_start < $3 AND ($4::bigint IS NULL OR y.account_id = $4)
ORDER BY y.account_id, y.period_start, y.counter_id, y.revision DESC;
