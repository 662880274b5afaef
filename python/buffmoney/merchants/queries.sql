-- Statements of the merchants package. Merchants are made by the schema's owner; keys also by the edge, for its own tenant.

-- name: count_tenants
-- How many tenants there are: what decides the next one's partition.
SELECT count(*) FROM tenants;

-- name: partition_ids
-- All partitions, in order.
SELECT partition_id FROM partitions ORDER BY partition_id;

-- name: insert_merchant
INSERT INTO merchants (merchant_id, name, billing, created_at) VALUES ($1, $2, $3, $4);

-- name: insert_tenant
INSERT INTO tenants (merchant_id, mode, partition_id, currency, unknown_customers, created_at)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING tenant_id;

-- name: insert_builtin_metric
INSERT INTO metrics (tenant_id, metric_id, code, unit, created_at) VALUES ($1, $2, $3, $4, $5);

-- name: insert_default_product
-- What a rate card belongs to that names no product.
INSERT INTO products (tenant_id, product_id, code, name, created_at) VALUES ($1, $2, 'default', 'default', $3);

-- name: merchant_tenants
-- Both tenants of a merchant, sandbox and live.
SELECT tenant_id, mode FROM tenants WHERE merchant_id = $1;

-- name: lock_tenant
SELECT FROM tenants WHERE tenant_id = $1 FOR NO KEY UPDATE;

-- name: next_catalog_version
-- Periods are part of the catalogue: the core finds a change by this number.
UPDATE tenants SET catalog_version = catalog_version + 1 WHERE tenant_id = $1 RETURNING catalog_version;

-- name: period_settings
SELECT period_settings($1);

-- name: next_revision
SELECT coalesce(max(revision), 0) + 1 FROM tenant_period_settings WHERE tenant_id = $1 AND effective_from = $2;

-- name: insert_period_setting
INSERT INTO tenant_period_settings (tenant_id, effective_from, revision, time_zone, anchor_day, created_at) VALUES ($1, $2, $3, $4, $5, $6);

-- name: first_period_setting
INSERT INTO tenant_period_settings (tenant_id, effective_from, revision, time_zone, anchor_day, created_at)
VALUES ($1, '-infinity', 1, $2, $3, $4);

-- name: list_merchants
SELECT merchant_id, name, billing, created_at FROM merchants ORDER BY created_at, merchant_id;

-- name: insert_key
INSERT INTO api_keys (tenant_id, key_id, prefix, key_hash, name, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: list_keys
-- A tenant's keys, oldest first, revoked ones too: they are what an audit asks for.
SELECT key_id, prefix, name, created_at, expires_at, revoked_at FROM api_keys WHERE tenant_id = $1 ORDER BY created_at, key_id;

-- name: lock_key
-- As it is until the end of the transaction, so that what the audit log says was before was.
SELECT key_id, prefix, name, created_at, expires_at, revoked_at FROM api_keys WHERE tenant_id = $1 AND key_id = $2 FOR UPDATE;

-- name: revoke_key
UPDATE api_keys SET revoked_at = $3 WHERE tenant_id = $1 AND key_id = $2;

-- name: end_key
-- A rotated key ends after its overlap; an end that was set before and comes sooner stays.
UPDATE api_keys SET expires_at = least(coalesce(expires_at, $3), $3) WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL
RETURNING expires_at;

-- name: key_tenant
-- Whose key this is: for the command line, which knows no tenant.
SELECT tenant_id, mode FROM api_keys JOIN tenants USING (tenant_id) WHERE key_id = $1;

-- name: hash_tenant
-- Whose key has this hash and works at this moment: for the command line.
SELECT tenant_id, currency FROM api_keys JOIN tenants USING (tenant_id)
WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2);
