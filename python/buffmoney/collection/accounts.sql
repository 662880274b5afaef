-- Statements of accounts at the channels.

-- name: callback_account
-- Before a tenant is known.
SELECT tenant_id, merchant_id, mode, partition_id, currency, channel FROM callback_account($1);

-- name: active
SELECT channel_account_id FROM channel_accounts WHERE tenant_id = $1 AND channel = $2 AND retired_at IS NULL;

-- name: active_channels
SELECT channel FROM channel_accounts WHERE tenant_id = $1 AND retired_at IS NULL ORDER BY channel;

-- name: account
-- With its credentials that are still good for something at $3, the newest first.
SELECT a.channel_account_id, a.channel, a.mode, a.collector_id, a.app_id, a.sub_merchant_id, a.retired_at,
    c.version, c.key_id, c.sealed
FROM channel_accounts a JOIN channel_credentials c USING (tenant_id, channel_account_id)
WHERE a.tenant_id = $1 AND a.channel_account_id = $2 AND (c.retires_at IS NULL OR c.retires_at > $3)
ORDER BY c.version DESC;

-- name: list_accounts
SELECT a.*, (SELECT max(c.version) FROM channel_credentials c
             WHERE c.tenant_id = a.tenant_id AND c.channel_account_id = a.channel_account_id) AS version
FROM channel_accounts a WHERE a.tenant_id = $1 ORDER BY a.created_at, a.channel_account_id;

-- name: lock_account
SELECT * FROM channel_accounts WHERE tenant_id = $1 AND channel_account_id = $2 FOR UPDATE;

-- name: account_tenant
-- Whose account this is: for the command line, which knows no tenant.
SELECT tenant_id FROM channel_accounts WHERE channel_account_id = $1;

-- name: insert_account
-- Nothing if another account of this channel is active.
INSERT INTO channel_accounts (tenant_id, channel_account_id, channel, mode, collector_id, app_id, sub_merchant_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant_id, channel) WHERE retired_at IS NULL DO NOTHING RETURNING channel_account_id;

-- name: insert_credentials
INSERT INTO channel_credentials (tenant_id, channel_account_id, version, key_id, sealed, created_at)
SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5 FROM channel_credentials WHERE tenant_id = $1 AND channel_account_id = $2
RETURNING version;

-- name: end_credentials
-- What a rotation replaces goes on verifying until $3; an end that was set before and comes sooner stays.
UPDATE channel_credentials SET retires_at = least(coalesce(retires_at, $3), $3) WHERE tenant_id = $1 AND channel_account_id = $2;

-- name: end_version
UPDATE channel_credentials SET retires_at = $4 WHERE tenant_id = $1 AND channel_account_id = $2 AND version = $3;

-- name: retire_account
UPDATE channel_accounts SET retired_at = $3 WHERE tenant_id = $1 AND channel_account_id = $2;

-- name: good_credentials
-- Of all tenants, what is good for something at $1: the newest version of each account, and those that go on verifying.
SELECT c.tenant_id, c.channel_account_id, c.version, c.key_id, c.sealed, c.retires_at
FROM channel_credentials c WHERE c.retires_at IS NULL OR c.retires_at > $1 ORDER BY c.tenant_id, c.channel_account_id, c.version;
