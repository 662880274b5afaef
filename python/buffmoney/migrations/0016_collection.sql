-- Money in: accounts at the payment channels, top-ups and promotions, payment orders, refunds, alerts.
--
-- A top-up's row is the lock of everything that belongs to it: its orders and refunds change only under it.

-- ---------------------------------------------------------------- accounts at the channels

CREATE TABLE channel_accounts (
    tenant_id          bigint NOT NULL REFERENCES tenants,
    channel_account_id text COLLATE "C" NOT NULL CHECK (channel_account_id ~ '^ca_[0-9a-f]{24}$'),
    channel            text NOT NULL CHECK (channel IN ('wechat', 'alipay')),
    mode               text NOT NULL CHECK (mode IN ('direct', 'service_provider')),
    collector_id       text COLLATE "C" NOT NULL CHECK (octet_length(collector_id) BETWEEN 1 AND 64),  -- who the money is paid to: (sp_)mchid, seller_id
    app_id             text COLLATE "C" NOT NULL CHECK (octet_length(app_id) BETWEEN 1 AND 64),
    sub_merchant_id    text COLLATE "C" CHECK (octet_length(sub_merchant_id) BETWEEN 1 AND 64),  -- for whom a service provider collects
    created_at         timestamptz NOT NULL,
    retired_at         timestamptz,                  -- takes no new orders; callbacks, queries and refunds of old ones go on
    PRIMARY KEY (tenant_id, channel_account_id),
    CHECK ((mode = 'service_provider') = (sub_merchant_id IS NOT NULL))
);
-- Which account a new order goes to is never a choice.
CREATE UNIQUE INDEX channel_accounts_active ON channel_accounts (tenant_id, channel) WHERE retired_at IS NULL;
-- Found by callbacks before their tenant is known.
CREATE UNIQUE INDEX channel_accounts_id ON channel_accounts (channel_account_id);

-- Sealed: whoever reads this table has no key. Versions overlap while a key is being changed.
CREATE TABLE channel_credentials (
    tenant_id          bigint NOT NULL,
    channel_account_id text COLLATE "C" NOT NULL,
    version            integer NOT NULL CHECK (version > 0),
    key_id             text NOT NULL CHECK (octet_length(key_id) BETWEEN 1 AND 64),
    sealed             bytea NOT NULL,
    created_at         timestamptz NOT NULL,
    retires_at         timestamptz,                  -- until then it still verifies; NULL: the newest
    PRIMARY KEY (tenant_id, channel_account_id, version),
    FOREIGN KEY (tenant_id, channel_account_id) REFERENCES channel_accounts
);

-- ---------------------------------------------------------------- what can be bought

CREATE TABLE top_up_settings (
    tenant_id              bigint PRIMARY KEY REFERENCES tenants,
    display_name           text CHECK (length(display_name) BETWEEN 1 AND 64),   -- NULL: the merchant's name
    tiers                  numeric(38, 9)[] NOT NULL,
    free_amount_minimum    numeric(38, 9) CHECK (free_amount_minimum >= 0.01 AND free_amount_minimum <> 'NaN'),
    free_amount_maximum    numeric(38, 9) CHECK (free_amount_maximum >= free_amount_minimum AND free_amount_maximum <> 'NaN'),
    paid_valid_days        integer CHECK (paid_valid_days BETWEEN 1 AND 3650),   -- NULL: paid credits do not expire
    bonus_valid_days       integer CHECK (bonus_valid_days BETWEEN 1 AND 3650),
    refund_window_days     integer NOT NULL CHECK (refund_window_days BETWEEN 0 AND 365),
    checkout_valid_minutes integer NOT NULL CHECK (checkout_valid_minutes BETWEEN 5 AND 120),
    updated_at             timestamptz NOT NULL,
    CHECK ((free_amount_minimum IS NULL) = (free_amount_maximum IS NULL))
);

-- "Buy buy_amount, get get_amount": terms never change; ended_at ends one early.
CREATE TABLE promotions (
    tenant_id           bigint NOT NULL REFERENCES tenants,
    promotion_id        text COLLATE "C" NOT NULL CHECK (promotion_id ~ '^pm_[0-9a-f]{24}$'),
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    buy_amount          numeric(38, 9) NOT NULL CHECK (buy_amount > 0 AND buy_amount <> 'NaN' AND buy_amount = round(buy_amount, 2)),
    get_amount          numeric(38, 9) NOT NULL CHECK (get_amount > 0 AND get_amount <> 'NaN' AND get_amount = round(get_amount, 2)),
    repeats             boolean NOT NULL,            -- for every whole buy_amount, else once
    first_purchase_only boolean NOT NULL,
    uses_per_customer   integer CHECK (uses_per_customer > 0),  -- NULL: without end
    bonus_valid_days    integer CHECK (bonus_valid_days BETWEEN 1 AND 3650),  -- NULL: as the settings say
    starts_at           timestamptz NOT NULL,
    ends_at             timestamptz CHECK (ends_at > starts_at),
    created_at          timestamptz NOT NULL,
    ended_at            timestamptz,
    PRIMARY KEY (tenant_id, promotion_id)
);

-- ---------------------------------------------------------------- top-ups

CREATE TABLE top_ups (
    tenant_id        bigint NOT NULL REFERENCES tenants,
    top_up_id        text COLLATE "C" NOT NULL CHECK (top_up_id ~ '^tu_[0-9a-f]{32}$'),
    customer         text COLLATE "C" NOT NULL CHECK (octet_length(customer) BETWEEN 1 AND 255),
    amount           numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN' AND amount = round(amount, 2)),
    currency         text NOT NULL CHECK (currency = 'CNY'),
    promotion_id     text COLLATE "C",               -- promised when it was made; whether it still counts is decided when it is paid
    bonus            numeric(38, 9) NOT NULL CHECK (bonus >= 0 AND bonus <> 'NaN' AND bonus = round(bonus, 2)),
    paid_valid_days  integer,
    bonus_valid_days integer,
    refund_window_days integer NOT NULL,
    status           text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'canceled')),  -- open after expires_at: expired, and a late payment still counts
    token_hash       bytea NOT NULL CHECK (length(token_hash) = 32),
    return_url       text CHECK (octet_length(return_url) <= 2048),
    locale           text,
    made_by          text NOT NULL,                  -- the API key, and below the request
    request_id       text NOT NULL,
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    canceled_at      timestamptz,
    paid_order_id    text COLLATE "C",
    paid_at          timestamptz,                    -- by the channel
    settled_at       timestamptz,
    bonus_granted    numeric(38, 9) CHECK (bonus_granted >= 0 AND bonus_granted <= bonus),
    paid_grant_id    uuid,
    bonus_grant_id   uuid,
    PRIMARY KEY (tenant_id, top_up_id),
    FOREIGN KEY (tenant_id, promotion_id) REFERENCES promotions,
    CHECK ((status = 'paid') = (paid_order_id IS NOT NULL)),
    CHECK ((status = 'paid') = (paid_grant_id IS NOT NULL)),
    CHECK ((status = 'canceled') = (canceled_at IS NOT NULL))
);
CREATE UNIQUE INDEX top_ups_token ON top_ups (token_hash);
CREATE INDEX top_ups_settled ON top_ups (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX top_ups_newest ON top_ups (tenant_id, created_at, top_up_id);
CREATE INDEX top_ups_customer ON top_ups (tenant_id, customer, created_at, top_up_id);

-- ---------------------------------------------------------------- payment orders: one for each attempt to pay a top-up

CREATE TABLE payment_orders (
    tenant_id          bigint NOT NULL,
    order_id           text COLLATE "C" NOT NULL CHECK (order_id ~ '^po_[0-9a-f]{32}$'),
    order_no           text COLLATE "C" NOT NULL CHECK (order_no ~ '^[0-9A-Za-z_]{6,32}$'),
    top_up_id          text COLLATE "C" NOT NULL,
    channel            text NOT NULL CHECK (channel IN ('wechat', 'alipay')),
    product            text NOT NULL CHECK (product IN ('native', 'jsapi', 'h5', 'page', 'wap', 'precreate')),
    channel_account_id text COLLATE "C" NOT NULL,
    collector_id       text COLLATE "C" NOT NULL,
    app_id             text COLLATE "C" NOT NULL,
    amount             numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN' AND amount = round(amount, 2)),
    currency           text NOT NULL CHECK (currency = 'CNY'),
    status             text NOT NULL DEFAULT 'created' CHECK (status IN ('created', 'pending', 'paid', 'closed', 'failed')),
    payer_openid       text,
    client_ip          text,
    started            jsonb,                        -- how the payer goes on, as the channel said
    started_at         timestamptz,
    created_at         timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    asked_at           timestamptz,                  -- when the channel was last asked about it
    next_poll_at       timestamptz,                  -- when the worker asks next; NULL: never
    polls              integer NOT NULL DEFAULT 0,
    failure            text,                         -- the channel's own code
    transaction_id     text COLLATE "C",
    payer              text,
    paid_at            timestamptz,                  -- by the channel
    settled_at         timestamptz,
    settled_by         text CHECK (settled_by IN ('callback', 'poll', 'close')),
    outcome            text CHECK (outcome IN ('credited', 'refunded')),  -- what the payment was used for
    suspended_at       timestamptz,                  -- a payment for it lies in suspense: people decide
    closed_at          timestamptz,
    refunds            integer NOT NULL DEFAULT 0,   -- how many were asked for: numbers the next one
    PRIMARY KEY (tenant_id, order_id),
    UNIQUE (channel, collector_id, order_no),
    FOREIGN KEY (tenant_id, top_up_id) REFERENCES top_ups,
    FOREIGN KEY (tenant_id, channel_account_id) REFERENCES channel_accounts,
    CHECK ((status = 'paid') = (paid_at IS NOT NULL)),
    CHECK ((status = 'paid') = (outcome IS NOT NULL))
);
CREATE INDEX payment_orders_top_up ON payment_orders (tenant_id, top_up_id);
CREATE INDEX payment_orders_due ON payment_orders (next_poll_at) WHERE next_poll_at IS NOT NULL;

-- The channel's truth wins, so a payment comes even after a close; nothing else ever goes back, and what was paid stays as it was paid.
CREATE FUNCTION payment_order_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('created', 'pending'), ('created', 'paid'), ('created', 'closed'), ('created', 'failed'),
        ('pending', 'paid'), ('pending', 'closed'), ('pending', 'failed'), ('closed', 'paid'), ('failed', 'paid')
    ) THEN
        RAISE EXCEPTION 'payment order % does not go from % to %', OLD.order_id, OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.tenant_id, NEW.order_id, NEW.order_no, NEW.top_up_id, NEW.channel, NEW.channel_account_id, NEW.collector_id, NEW.app_id, NEW.amount, NEW.currency)
        IS DISTINCT FROM (OLD.tenant_id, OLD.order_id, OLD.order_no, OLD.top_up_id, OLD.channel, OLD.channel_account_id, OLD.collector_id, OLD.app_id, OLD.amount, OLD.currency)
        OR (OLD.status = 'paid' AND (NEW.transaction_id, NEW.paid_at, NEW.outcome) IS DISTINCT FROM (OLD.transaction_id, OLD.paid_at, OLD.outcome)) THEN
        RAISE EXCEPTION 'payment order %: what was ordered and paid never changes', OLD.order_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER steps BEFORE UPDATE ON payment_orders FOR EACH ROW EXECUTE FUNCTION payment_order_steps();

CREATE FUNCTION top_up_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (('open', 'paid'), ('open', 'canceled')) THEN
        RAISE EXCEPTION 'top-up % does not go from % to %', OLD.top_up_id, OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.tenant_id, NEW.top_up_id, NEW.customer, NEW.amount, NEW.currency, NEW.promotion_id, NEW.bonus)
        IS DISTINCT FROM (OLD.tenant_id, OLD.top_up_id, OLD.customer, OLD.amount, OLD.currency, OLD.promotion_id, OLD.bonus)
        OR (OLD.status = 'paid' AND (NEW.paid_order_id, NEW.paid_grant_id, NEW.bonus_grant_id, NEW.bonus_granted)
            IS DISTINCT FROM (OLD.paid_order_id, OLD.paid_grant_id, OLD.bonus_grant_id, OLD.bonus_granted)) THEN
        RAISE EXCEPTION 'top-up %: what was sold and paid never changes', OLD.top_up_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER steps BEFORE UPDATE ON top_ups FOR EACH ROW EXECUTE FUNCTION top_up_steps();

-- ---------------------------------------------------------------- refunds

CREATE TABLE refunds (
    tenant_id      bigint NOT NULL,
    refund_id      text COLLATE "C" NOT NULL CHECK (refund_id ~ '^re_[0-9a-f]{32}$'),
    refund_no      text COLLATE "C" NOT NULL CHECK (octet_length(refund_no) BETWEEN 6 AND 64),  -- of the order's number: the same at every try
    order_id       text COLLATE "C" NOT NULL,
    top_up_id      text COLLATE "C" NOT NULL,
    cause          text NOT NULL CHECK (cause IN ('merchant', 'double_payment', 'canceled', 'grant_refused')),
    amount         numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN' AND amount = round(amount, 2)),
    paid_taken     numeric(38, 9) NOT NULL CHECK (paid_taken >= 0 AND paid_taken <> 'NaN'),    -- credits, from the paid grant
    bonus_taken    numeric(38, 9) NOT NULL CHECK (bonus_taken >= 0 AND bonus_taken <> 'NaN'),  -- and from the bonus grant
    command_id     uuid,                             -- that takes them; NULL: there were none
    reason         text NOT NULL CHECK (length(reason) <= 80),
    status         text NOT NULL CHECK (status IN ('requested', 'ready', 'processing', 'succeeded', 'abnormal', 'closed', 'refused')),
    channel_refund_id text,
    failure        text,
    made_by        text NOT NULL,
    created_at     timestamptz NOT NULL,
    submitted_at   timestamptz,
    succeeded_at   timestamptz,
    next_step_at   timestamptz,                      -- when the worker looks at it next; NULL: it is over
    steps          integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, refund_id),
    UNIQUE (tenant_id, refund_no),
    FOREIGN KEY (tenant_id, order_id) REFERENCES payment_orders,
    FOREIGN KEY (tenant_id, top_up_id) REFERENCES top_ups,
    CHECK ((status IN ('succeeded', 'closed', 'refused')) = (next_step_at IS NULL)),
    CHECK ((status = 'succeeded') = (succeeded_at IS NOT NULL))
);
CREATE INDEX refunds_order ON refunds (tenant_id, order_id);
CREATE INDEX refunds_top_up ON refunds (tenant_id, top_up_id);
CREATE INDEX refunds_due ON refunds (next_step_at) WHERE next_step_at IS NOT NULL;

CREATE FUNCTION refund_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('requested', 'ready'), ('requested', 'refused'), ('ready', 'processing'), ('ready', 'succeeded'), ('ready', 'abnormal'), ('ready', 'closed'),
        ('processing', 'succeeded'), ('processing', 'abnormal'), ('processing', 'closed'), ('abnormal', 'succeeded'), ('abnormal', 'closed')
    ) THEN
        RAISE EXCEPTION 'refund % does not go from % to %', OLD.refund_id, OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.tenant_id, NEW.refund_id, NEW.refund_no, NEW.order_id, NEW.top_up_id, NEW.amount, NEW.paid_taken, NEW.bonus_taken, NEW.command_id)
        IS DISTINCT FROM (OLD.tenant_id, OLD.refund_id, OLD.refund_no, OLD.order_id, OLD.top_up_id, OLD.amount, OLD.paid_taken, OLD.bonus_taken, OLD.command_id) THEN
        RAISE EXCEPTION 'refund %: what was asked for never changes', OLD.refund_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER steps BEFORE UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION refund_steps();

-- Never more back than came in, whoever asks and however many at once: counted under a lock on the order.
CREATE FUNCTION refunds_within_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE paid numeric; back numeric;
BEGIN
    SELECT amount INTO paid FROM payment_orders WHERE tenant_id = NEW.tenant_id AND order_id = NEW.order_id AND status = 'paid' FOR UPDATE;
    SELECT coalesce(sum(amount), 0) INTO back FROM refunds
    WHERE tenant_id = NEW.tenant_id AND order_id = NEW.order_id AND status NOT IN ('closed', 'refused');
    IF paid IS NULL OR back + NEW.amount > paid THEN
        RAISE EXCEPTION 'refund of % of order %: % of % is refunded already', NEW.amount, NEW.order_id, back, paid USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER within_payment BEFORE INSERT ON refunds FOR EACH ROW EXECUTE FUNCTION refunds_within_payment();

-- ---------------------------------------------------------------- alerts: what people have to look at

CREATE TABLE payment_alerts (
    tenant_id      bigint NOT NULL REFERENCES tenants,
    alert_id       text COLLATE "C" NOT NULL CHECK (alert_id ~ '^al_[0-9a-f]{24}$'),
    kind           text NOT NULL CHECK (kind IN ('unknown_order', 'wrong_amount', 'wrong_currency', 'wrong_collector', 'refunded_elsewhere', 'second_transaction',
                                                 'double_payment', 'paid_after_cancel', 'grant_refused', 'refund_abnormal', 'refund_closed', 'refund_stuck')),
    channel        text NOT NULL,
    order_no       text COLLATE "C" NOT NULL,
    subject        text COLLATE "C" NOT NULL,        -- the channel's transaction, or the refund's number: one alert for each
    order_id       text COLLATE "C",
    refund_id      text COLLATE "C",
    amount         numeric(38, 9) CHECK (amount <> 'NaN'),
    in_suspense    boolean NOT NULL,                 -- the amount was posted to payment_suspense
    detail         text NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, alert_id),
    UNIQUE (tenant_id, kind, channel, order_no, subject)
);
CREATE INDEX payment_alerts_newest ON payment_alerts (tenant_id, created_at, alert_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON payment_alerts FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- look-ups that come before a tenant is known

CREATE FUNCTION callback_account(id text)
RETURNS TABLE (tenant_id bigint, merchant_id text, mode text, partition_id integer, currency text, channel text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT a.tenant_id, t.merchant_id, t.mode, t.partition_id, t.currency, a.channel
    FROM channel_accounts a JOIN tenants t USING (tenant_id) WHERE a.channel_account_id = id
$$;
CREATE FUNCTION checkout_top_up(hash bytea)
RETURNS TABLE (tenant_id bigint, merchant_id text, mode text, partition_id integer, currency text, top_up_id text, merchant_name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.tenant_id, t.merchant_id, t.mode, t.partition_id, t.currency, u.top_up_id, m.name
    FROM top_ups u JOIN tenants t USING (tenant_id) JOIN merchants m USING (merchant_id) WHERE u.token_hash = hash
$$;
REVOKE ALL ON FUNCTION callback_account(text), checkout_top_up(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION callback_account(text), checkout_top_up(bytea) TO buffmoney_edge;

-- ---------------------------------------------------------------- row-level security and privileges

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['channel_accounts', 'channel_credentials', 'top_up_settings', 'promotions', 'top_ups', 'payment_orders', 'refunds',
                                'payment_alerts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO buffmoney_worker USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO buffmoney_edge, buffmoney_worker', name);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
    -- Nothing of these is ever taken away; what may change is granted below.
    FOREACH name IN ARRAY ARRAY['channel_accounts', 'channel_credentials', 'promotions', 'top_ups', 'payment_orders', 'refunds'] LOOP
        EXECUTE format('CREATE TRIGGER never_deleted BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
    END LOOP;
END $$;

GRANT INSERT ON channel_accounts, channel_credentials, promotions, top_ups, payment_orders TO buffmoney_edge;
GRANT INSERT, UPDATE ON top_up_settings TO buffmoney_edge;
GRANT UPDATE (ended_at) ON promotions TO buffmoney_edge;
GRANT INSERT ON refunds, payment_alerts TO buffmoney_edge, buffmoney_worker;
GRANT UPDATE (status, canceled_at, paid_order_id, paid_at, settled_at, bonus_granted, paid_grant_id, bonus_grant_id) ON top_ups TO buffmoney_edge, buffmoney_worker;
GRANT UPDATE (status, started, started_at, asked_at, next_poll_at, polls, failure, transaction_id, payer, paid_at, settled_at, settled_by, outcome,
              suspended_at, closed_at, refunds) ON payment_orders TO buffmoney_edge, buffmoney_worker;
GRANT UPDATE (status, channel_refund_id, failure, submitted_at, succeeded_at, next_step_at, steps) ON refunds TO buffmoney_edge, buffmoney_worker;
-- `ledger verify`, which reads as the core, compares both with the cash book and the outbox.
GRANT SELECT ON payment_orders, refunds TO buffmoney_core;
