-- The cash book: what the channels collected for each merchant, what they and we take of it, and what the merchant is owed.

INSERT INTO system_accounts VALUES
    (20, 'wechat_clearing',  'asset',     'collected by WeChat Pay, gross, and not settled yet'),
    (21, 'alipay_clearing',  'asset',     'collected by Alipay, gross, and not settled yet'),
    (22, 'wechat_fees',      'liability', 'estimated fees that WeChat Pay will keep'),
    (23, 'alipay_fees',      'liability', 'estimated fees that Alipay will keep'),
    (24, 'merchant_payable', 'liability', 'what the merchant is owed: gross, less fees and refunds'),
    (25, 'platform_fees',    'income',    'fees of ours'),
    (26, 'payment_suspense', 'liability', 'collected, and nobody knows yet what for');

-- One posting moves one amount from one account to another, so it cannot be unbalanced. One chain for each tenant.
CREATE TABLE cash_postings (
    tenant_id         bigint NOT NULL REFERENCES tenants,
    seq               bigint NOT NULL CHECK (seq > 0),             -- without gaps
    kind              text COLLATE "C" NOT NULL,
    debit_account_id  bigint NOT NULL,
    credit_account_id bigint NOT NULL,
    amount            numeric(38, 9) NOT NULL CHECK (amount > 0 AND amount <> 'NaN' AND amount = round(amount, 2)),  -- CNY, whole fen
    order_id          text COLLATE "C" CHECK (octet_length(order_id) BETWEEN 1 AND 64),   -- NULL: money of an order that we do not know
    refund_id         text COLLATE "C" CHECK (octet_length(refund_id) BETWEEN 1 AND 64),
    channel           text COLLATE "C" NOT NULL,
    occurred_at       timestamptz NOT NULL CHECK (isfinite(occurred_at)),  -- by the channel
    posted_at         timestamptz NOT NULL CHECK (isfinite(posted_at)),
    chain_hash        bytea NOT NULL CHECK (length(chain_hash) = 32),      -- blake3 over the hash before and this posting
    PRIMARY KEY (tenant_id, seq),
    -- Every kind has its accounts: a wrong one cannot be written. Alipay returns no fee.
    CONSTRAINT cash_postings_template CHECK ((kind, channel, debit_account_id, credit_account_id) IN (
        ('payment', 'wechat', 20, 24), ('payment', 'alipay', 21, 24),
        ('channel_fee', 'wechat', 24, 22), ('channel_fee', 'alipay', 24, 23),
        ('platform_fee', 'wechat', 24, 25), ('platform_fee', 'alipay', 24, 25),
        ('refund', 'wechat', 24, 20), ('refund', 'alipay', 24, 21),
        ('channel_fee_return', 'wechat', 22, 24),
        ('platform_fee_return', 'wechat', 25, 24), ('platform_fee_return', 'alipay', 25, 24),
        ('suspense', 'wechat', 20, 26), ('suspense', 'alipay', 21, 26),
        ('suspense_release', 'wechat', 26, 20), ('suspense_release', 'alipay', 26, 21))),
    CONSTRAINT cash_postings_names CHECK (CASE
        WHEN kind IN ('payment', 'channel_fee', 'platform_fee') THEN order_id IS NOT NULL AND refund_id IS NULL
        WHEN kind IN ('refund', 'channel_fee_return', 'platform_fee_return') THEN order_id IS NOT NULL AND refund_id IS NOT NULL
        WHEN kind = 'suspense' THEN refund_id IS NULL
        ELSE true END)
);
-- An order is paid once, and each of its refunds happens once, whoever races whom. Also how an order's postings are found.
CREATE UNIQUE INDEX cash_postings_once ON cash_postings (tenant_id, order_id, kind, refund_id) NULLS NOT DISTINCT WHERE order_id IS NOT NULL;

-- The newest posting of each tenant, signed: a chain that was cut off is valid in itself. Its row is also the lock under which the
-- postings of a tenant are written one after the other.
CREATE TABLE cash_heads (
    tenant_id  bigint PRIMARY KEY REFERENCES tenants,
    seq        bigint NOT NULL CHECK (seq >= 0),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    mac        bytea NOT NULL CHECK (length(mac) = 32)       -- keyed blake3 over tenant, seq and hash
) WITH (fillfactor = 50);  -- every post updates its row: room for it on the same page

CREATE FUNCTION never_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.tenant_id <> OLD.tenant_id OR NEW.seq <= OLD.seq THEN
        RAISE EXCEPTION '% only goes on: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON cash_postings FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON cash_postings EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_back BEFORE UPDATE ON cash_heads FOR EACH ROW EXECUTE FUNCTION never_back();
CREATE TRIGGER append_only BEFORE DELETE ON cash_heads FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON cash_heads EXECUTE FUNCTION refuse_change();

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['cash_postings', 'cash_heads'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO buffmoney_worker USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO buffmoney_edge, buffmoney_core, buffmoney_worker', name);
    END LOOP;
END $$;
-- The edge settles what a callback says, the worker what it finds by asking.
GRANT INSERT ON cash_postings TO buffmoney_edge, buffmoney_worker;
GRANT UPDATE (seq, chain_hash, mac) ON cash_heads TO buffmoney_edge, buffmoney_worker;
