-- The spine: merchants and keys, price catalogue, wallets, the append-only ledger, usage, roll-ups, partitions.
--
-- Roles are made by `buffmoney migrate` before this file runs:
--   buffmoney_edge    answers HTTP; sees one tenant at a time (row-level security, buffmoney.tenant_id)
--   buffmoney_core    the single writer of each partition; bypasses row security because COPY cannot run under it
--   buffmoney_worker  jobs over all tenants (roll-ups)
-- None of them owns a table, and none may UPDATE, DELETE or TRUNCATE the ledger.

-- ---------------------------------------------------------------- merchants, tenants, keys

CREATE TABLE merchants (
    merchant_id text PRIMARY KEY CHECK (merchant_id ~ '^mer_[0-9a-f]{24}$'),
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    billing     text NOT NULL CHECK (billing IN ('prepaid', 'pay-as-you-go')),
    created_at  timestamptz NOT NULL
);

-- One merchant in one mode. Sandbox and live share no row of anything that carries a tenant_id.
CREATE TABLE tenants (
    tenant_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id       text NOT NULL REFERENCES merchants,
    mode              text NOT NULL CHECK (mode IN ('sandbox', 'live')),
    partition_id      integer NOT NULL,
    currency          text NOT NULL DEFAULT 'CNY' CHECK (currency ~ '^[A-Z]{3}$'),
    unknown_customers text NOT NULL CHECK (unknown_customers IN ('create', 'refuse')),
    -- Grows with every change of metrics, rate cards or settings: the core reloads what is newer than it knows.
    catalog_version   bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL,
    UNIQUE (merchant_id, mode)
);

CREATE TABLE api_keys (
    tenant_id   bigint NOT NULL REFERENCES tenants,
    key_id      text NOT NULL CHECK (key_id ~ '^key_[0-9a-f]{24}$'),
    prefix      text NOT NULL,                       -- what may be shown: bm_live_ and 8 characters
    key_hash    bytea NOT NULL CHECK (length(key_hash) = 32),
    name        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,                         -- set by a rotation: the old key's overlap ends here
    revoked_at  timestamptz,
    PRIMARY KEY (tenant_id, key_id)
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (key_hash);

-- First answers of POST requests that are not wallet commands, by their Idempotency-Key.
CREATE TABLE idempotent_requests (
    tenant_id    bigint NOT NULL REFERENCES tenants,
    request_key  text COLLATE "C" NOT NULL CHECK (octet_length(request_key) BETWEEN 1 AND 255),
    fingerprint  bytea NOT NULL,                     -- of method, path and body
    status       integer NOT NULL,
    body         bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_key)
);

-- ---------------------------------------------------------------- price catalogue

CREATE TABLE metrics (
    tenant_id  bigint NOT NULL REFERENCES tenants,
    metric_id  integer NOT NULL CHECK (metric_id > 0),  -- 1..5 built in, merchant-defined from 100
    code       text COLLATE "C" NOT NULL CHECK (code ~ '^[a-z][a-z0-9_]{0,63}$'),
    unit       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, metric_id),
    UNIQUE (tenant_id, code)
);

CREATE TABLE rate_cards (
    tenant_id      bigint NOT NULL REFERENCES tenants,
    rate_card_id   text NOT NULL CHECK (rate_card_id ~ '^rc_[0-9a-f]{24}$'),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- NULL: since ever. A tenant's first card also prices what happened before it was made.
    effective_from timestamptz,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, rate_card_id)
);

CREATE SEQUENCE price_ids AS integer;
CREATE TABLE rate_card_charges (
    tenant_id    bigint NOT NULL,
    rate_card_id text NOT NULL,
    line         integer NOT NULL CHECK (line >= 0),
    price_id     integer NOT NULL,                   -- what a usage event names as its price
    metric_id    integer NOT NULL,
    match        jsonb NOT NULL DEFAULT '{}',
    price        numeric(38, 9) NOT NULL CHECK (price >= 0 AND price <> 'NaN'),
    per          numeric(38, 9) NOT NULL CHECK (per > 0 AND per <> 'NaN'),
    PRIMARY KEY (tenant_id, rate_card_id, line),
    FOREIGN KEY (tenant_id, rate_card_id) REFERENCES rate_cards,
    FOREIGN KEY (tenant_id, metric_id) REFERENCES metrics
);
CREATE UNIQUE INDEX rate_card_charges_price ON rate_card_charges (tenant_id, price_id);

-- ---------------------------------------------------------------- chart of accounts

CREATE TABLE system_accounts (
    account_id  bigint PRIMARY KEY CHECK (account_id < 1000),
    code        text NOT NULL UNIQUE,
    class       text NOT NULL CHECK (class IN ('asset', 'liability', 'income', 'expense')),
    description text NOT NULL
);
INSERT INTO system_accounts VALUES
    (1,  'paid_credit_funding',     'asset',   'what was collected, or is to be, for paid grants'),
    (2,  'bonus_credit_cost',       'expense', 'bonus grants given'),
    (3,  'promotional_credit_cost', 'expense', 'promotional grants given'),
    (10, 'usage_revenue',           'income',  'usage charged and holds captured'),
    (11, 'breakage_income',         'income',  'grants that expired unspent');

-- A customer owns two accounts: account_id (even) is the wallet, account_id + 1 what is on hold.
CREATE SEQUENCE account_ids AS bigint START 1000 INCREMENT 2;

CREATE TABLE customers (
    tenant_id             bigint NOT NULL REFERENCES tenants,
    account_id            bigint NOT NULL CHECK (account_id >= 1000 AND account_id % 2 = 0),
    external_id           text COLLATE "C" NOT NULL CHECK (octet_length(external_id) BETWEEN 1 AND 255),
    currency              text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    overdraft_limit       numeric(38, 9) CHECK (overdraft_limit >= 0 AND overdraft_limit <> 'NaN'), -- NULL: no floor
    low_balance_threshold numeric(38, 9) CHECK (low_balance_threshold <> 'NaN'),
    created_at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id),
    UNIQUE (tenant_id, external_id)
);

CREATE VIEW chart_of_accounts WITH (security_invoker = true) AS
    SELECT NULL::bigint AS tenant_id, account_id, code, class, NULL::text AS customer_external_id FROM system_accounts
    UNION ALL SELECT tenant_id, account_id, 'customer_wallet', 'liability', external_id FROM customers
    UNION ALL SELECT tenant_id, account_id + 1, 'customer_held', 'liability', external_id FROM customers;

-- ---------------------------------------------------------------- partitions and their commits

-- Who may write a partition, and the signed head of what was written. The head lies outside the tables it vouches for.
CREATE TABLE partitions (
    partition_id integer PRIMARY KEY CHECK (partition_id BETWEEN 0 AND 32767),
    epoch        bigint NOT NULL DEFAULT 0,          -- grows with every change of hands; every commit checks it
    holder       text NOT NULL DEFAULT '',
    lease_until  timestamptz NOT NULL DEFAULT '-infinity',
    commit_seq   bigint NOT NULL DEFAULT 0,
    head         bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(head) = 32),
    head_mac     bytea NOT NULL DEFAULT '\x'         -- keyed blake3 over partition, commit_seq and head
);

-- One row for every group that a core committed. commit_id = partition_id << 48 | commit_seq.
CREATE TABLE commits (
    partition_id integer NOT NULL,
    commit_seq   bigint NOT NULL CHECK (commit_seq > 0),
    commit_id    bigint NOT NULL UNIQUE,
    epoch        bigint NOT NULL,
    committed_at timestamptz NOT NULL,
    events       integer NOT NULL,
    postings     integer NOT NULL,
    charged      numeric(38, 9) NOT NULL CHECK (charged <> 'NaN'),
    digest       bytea NOT NULL CHECK (length(digest) = 32),  -- blake3 of the postings' chain hashes, in key order
    head         bytea NOT NULL CHECK (length(head) = 32),    -- blake3 of the head before and this row
    messages     bytea NOT NULL,                              -- 16 bytes for each inbox message in the group
    PRIMARY KEY (partition_id, commit_seq)
);

-- ---------------------------------------------------------------- the ledger

-- One posting moves one amount from one account to another, so it cannot be unbalanced.
-- (tenant_id, account_id, seq) is the wallet whose sequence it extends; the hash chain runs along it.
CREATE TABLE postings (
    tenant_id         bigint NOT NULL,
    account_id        bigint NOT NULL,
    seq               bigint NOT NULL CHECK (seq > 0),
    kind              smallint NOT NULL CHECK (kind BETWEEN 1 AND 8),
    debit_account_id  bigint NOT NULL,
    credit_account_id bigint NOT NULL CHECK (credit_account_id <> debit_account_id),
    amount            numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    balance_after     numeric(38, 9) NOT NULL CHECK (balance_after <> 'NaN'),  -- of the wallet: what is available
    held_after        numeric(38, 9) NOT NULL CHECK (held_after >= 0 AND held_after <> 'NaN'),
    grant_id          uuid,                          -- the grant that gained or paid; NULL: overdraft
    reference         uuid,                          -- the grant, hold or command behind it
    commit_id         bigint NOT NULL,
    posted_at         timestamptz NOT NULL,
    grants_after      bytea,                         -- on a wallet's last posting of a commit: its open grants
    chain_hash        bytea NOT NULL CHECK (length(chain_hash) = 32),
    PRIMARY KEY (tenant_id, account_id, seq)
);
CREATE INDEX postings_commit ON postings USING brin (commit_id) WITH (pages_per_range = 32);

CREATE TABLE posting_kinds (kind smallint PRIMARY KEY, code text NOT NULL UNIQUE);
INSERT INTO posting_kinds VALUES (1, 'grant'), (2, 'usage'), (3, 'hold'), (4, 'capture'), (5, 'release'),
    (6, 'grant_expiry'), (7, 'void'), (8, 'hold_expiry');

-- ---------------------------------------------------------------- wallets

CREATE TABLE grants (
    tenant_id         bigint NOT NULL,
    grant_id          uuid NOT NULL,
    account_id        bigint NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('paid', 'bonus', 'promotional')),
    priority          smallint NOT NULL,
    amount            numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    currency          text NOT NULL,
    expires_at        timestamptz,
    created_at        timestamptz NOT NULL,
    commit_id         bigint NOT NULL,
    expired_commit_id bigint,                        -- set once, when its expiry was posted (or found nothing left)
    PRIMARY KEY (tenant_id, grant_id)
);
CREATE INDEX grants_due ON grants (expires_at) WHERE expires_at IS NOT NULL AND expired_commit_id IS NULL;
CREATE INDEX grants_account ON grants (tenant_id, account_id);

CREATE TABLE holds (
    tenant_id        bigint NOT NULL,
    hold_id          uuid NOT NULL,
    account_id       bigint NOT NULL,
    amount           numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    parts            bytea NOT NULL,                 -- 32 bytes each: grant id (zero: overdraft), nano amount
    expires_at       timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    commit_id        bigint NOT NULL,
    status           text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'captured', 'released', 'expired')),
    captured         numeric(38, 9) CHECK (captured <> 'NaN'),
    closed_commit_id bigint,
    PRIMARY KEY (tenant_id, hold_id)
);
CREATE INDEX holds_due ON holds (expires_at) WHERE status = 'open';
CREATE INDEX holds_open ON holds (tenant_id, account_id) WHERE status = 'open';

-- Every command a wallet ever took, with its first answer: the same id again gets that answer again.
CREATE TABLE wallet_commands (
    tenant_id   bigint NOT NULL,
    command_id  uuid NOT NULL,
    fingerprint bigint NOT NULL,
    commit_id   bigint NOT NULL,
    result      text NOT NULL,
    PRIMARY KEY (tenant_id, command_id)
);

-- A wallet fell through its threshold: for the webhooks to come.
CREATE TABLE low_balance_alerts (
    tenant_id  bigint NOT NULL,
    account_id bigint NOT NULL,
    seq        bigint NOT NULL,
    threshold  numeric(38, 9) NOT NULL,
    available  numeric(38, 9) NOT NULL,
    commit_id  bigint NOT NULL,
    PRIMARY KEY (tenant_id, account_id, seq)
);

-- ---------------------------------------------------------------- usage

-- Identity of every event, for good: 128 bits of blake3 over tenant and idempotencyKey.
CREATE TABLE event_keys (
    tenant_id   bigint NOT NULL,
    key_hash    uuid NOT NULL,
    fingerprint bigint NOT NULL,                     -- 64 bits of blake3 over the payload
    commit_id   bigint NOT NULL,
    PRIMARY KEY (tenant_id, key_hash)
);

-- Partitioned by day of arrival: a closed day never changes again. Unique through event_keys, in the same transaction.
CREATE TABLE usage_events (
    tenant_id       bigint NOT NULL,
    account_id      bigint NOT NULL,
    commit_id       bigint NOT NULL,
    posting_seq     bigint NOT NULL,                 -- the (first) posting that carries its charge; 0: free of charge
    accepted_at     timestamptz NOT NULL,
    occurred_at     timestamptz NOT NULL,
    metric_id       integer NOT NULL,
    price_id        integer NOT NULL,
    quantity        numeric(38, 9) NOT NULL CHECK (quantity > 0 AND quantity <> 'NaN'),
    charge          numeric(38, 9) NOT NULL CHECK (charge >= 0 AND charge <> 'NaN'),
    idempotency_key text COLLATE "C" NOT NULL,
    dimensions      text COLLATE "C" NOT NULL        -- canonical JSON: keys sorted, no white space
) PARTITION BY RANGE (accepted_at);
CREATE INDEX usage_events_commit ON usage_events USING brin (commit_id) WITH (pages_per_range = 32);

-- Quarter hours of UTC, so that days and months of every time zone are whole numbers of buckets.
CREATE TABLE usage_rollups (
    tenant_id  bigint NOT NULL,
    account_id bigint NOT NULL,
    bucket     timestamptz NOT NULL,
    metric_id  integer NOT NULL,
    dimensions text COLLATE "C" NOT NULL,
    events     bigint NOT NULL,
    quantity   numeric(38, 9) NOT NULL,
    charge     numeric(38, 9) NOT NULL,
    PRIMARY KEY (tenant_id, account_id, bucket, metric_id, dimensions)
);
CREATE INDEX usage_rollups_time ON usage_rollups (tenant_id, bucket);

CREATE TABLE rollup_progress (
    partition_id integer PRIMARY KEY,
    commit_seq   bigint NOT NULL
);

-- ---------------------------------------------------------------- append-only, by trigger as well as by privilege

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['postings', 'commits', 'event_keys', 'wallet_commands', 'low_balance_alerts',
                                'rate_cards', 'rate_card_charges'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON usage_events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON usage_events EXECUTE FUNCTION refuse_change();

-- Called by the core ahead of each day; runs as its owner because the core owns nothing.
CREATE FUNCTION ensure_usage_partition(day date) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE name text := 'usage_events_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext(name));
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF usage_events FOR VALUES FROM (%L) TO (%L)', name,
                           day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
            EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
            EXECUTE format('GRANT SELECT, INSERT ON %I TO buffmoney_core', name);
        END IF;
    END IF;
    RETURN name;
END $$;
REVOKE ALL ON FUNCTION ensure_usage_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_usage_partition(date) TO buffmoney_core;

-- The one look-up that comes before a tenant is known.
CREATE FUNCTION authenticate_key(hash bytea)
RETURNS TABLE (tenant_id bigint, key_id text, mode text, merchant_id text, partition_id integer, currency text, expires_at timestamptz, revoked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.tenant_id, k.key_id, t.mode, t.merchant_id, t.partition_id, t.currency, k.expires_at, k.revoked_at
    FROM api_keys k JOIN tenants t USING (tenant_id) WHERE k.key_hash = hash
$$;
REVOKE ALL ON FUNCTION authenticate_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION authenticate_key(bytea) TO buffmoney_edge;

-- ---------------------------------------------------------------- row-level security and privileges

CREATE FUNCTION current_tenant() RETURNS bigint LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('buffmoney.tenant_id', true), '')::bigint $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'api_keys', 'idempotent_requests', 'metrics', 'rate_cards', 'rate_card_charges',
                                'customers', 'postings', 'grants', 'holds', 'wallet_commands', 'low_balance_alerts',
                                'event_keys', 'usage_events', 'usage_rollups'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO buffmoney_worker USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO buffmoney_edge, buffmoney_core, buffmoney_worker', name);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT SELECT ON system_accounts, posting_kinds, chart_of_accounts, partitions, commits, rollup_progress TO buffmoney_edge, buffmoney_core, buffmoney_worker;

-- How a merchant bills decides the floor of its wallets, which is part of the engine's catalogue.
GRANT SELECT (merchant_id, billing) ON merchants TO buffmoney_core;

GRANT INSERT ON metrics, rate_cards, rate_card_charges, api_keys, idempotent_requests TO buffmoney_edge;
GRANT UPDATE (revoked_at, expires_at) ON api_keys TO buffmoney_edge;
GRANT UPDATE (catalog_version) ON tenants TO buffmoney_edge;
GRANT USAGE ON SEQUENCE price_ids TO buffmoney_edge;

GRANT INSERT ON postings, commits, event_keys, usage_events, wallet_commands, low_balance_alerts, customers, grants, holds TO buffmoney_core;
GRANT UPDATE (overdraft_limit, low_balance_threshold) ON customers TO buffmoney_core;
GRANT UPDATE (expired_commit_id) ON grants TO buffmoney_core;
GRANT UPDATE (status, captured, closed_commit_id) ON holds TO buffmoney_core;
GRANT UPDATE ON partitions TO buffmoney_core;
GRANT USAGE ON SEQUENCE account_ids TO buffmoney_core;

GRANT INSERT, UPDATE ON usage_rollups, rollup_progress TO buffmoney_worker;

CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
