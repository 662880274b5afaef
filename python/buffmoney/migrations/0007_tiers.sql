-- Graduated tiers and free allowances: what a customer used of a line within a billing period decides what the next event costs.

-- ---------------------------------------------------------------- periods

-- Where a merchant's days and billing periods begin. A period is a calendar month, or goes from the anchor day to the next; where a month
-- has no such day, from its last one.
ALTER TABLE tenants
    ADD COLUMN time_zone  text NOT NULL DEFAULT 'Asia/Shanghai' CHECK (length(time_zone) BETWEEN 1 AND 255),
    ADD COLUMN anchor_day smallint NOT NULL DEFAULT 1 CHECK (anchor_day BETWEEN 1 AND 31);

-- ---------------------------------------------------------------- what is counted

-- A counter is named when a line that counts is published. Later versions of the card whose line has the same metric and match go on with
-- it; a line with another match has a counter of its own.
CREATE TABLE usage_counters (
    tenant_id  bigint NOT NULL,
    counter_id integer NOT NULL CHECK (counter_id > 0),
    product_id text NOT NULL,
    metric_id  integer NOT NULL,
    match      jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, counter_id),
    FOREIGN KEY (tenant_id, product_id) REFERENCES products,
    FOREIGN KEY (tenant_id, metric_id) REFERENCES metrics
);
CREATE INDEX usage_counters_product ON usage_counters (tenant_id, product_id);
CREATE SEQUENCE counter_ids AS integer;

-- How much a customer had used of a counter in a period after each commit that moved it: the last row of a counter is where it stands.
CREATE TABLE usage_counter_quantities (
    tenant_id    bigint NOT NULL,
    account_id   bigint NOT NULL,
    period_start timestamptz NOT NULL,
    counter_id   integer NOT NULL,
    commit_id    bigint NOT NULL,
    quantity     numeric(38, 9) NOT NULL CHECK (quantity >= 0 AND quantity <> 'NaN'),
    PRIMARY KEY (tenant_id, account_id, period_start, counter_id, commit_id)
);

-- What the counter of its period was before an event; 0 for lines that do not count. No CHECK: nothing per event that `ledger verify`
-- does not look at anyway.
ALTER TABLE usage_events ADD COLUMN counter_before numeric(38, 9) NOT NULL DEFAULT 0;

-- ---------------------------------------------------------------- lines that count

ALTER TABLE rate_card_charges
    ADD COLUMN allowance  numeric(38, 9) CHECK (allowance > 0 AND allowance <> 'NaN'),
    ADD COLUMN tiers      jsonb CHECK (jsonb_typeof(tiers) = 'array'),  -- [{"upTo": "1000"|null, "price": "4", "per": "1000000"}], rising
    ADD COLUMN counter_id integer,
    DROP CONSTRAINT rate_card_charges_model_check,
    ADD CONSTRAINT rate_card_charges_model_check CHECK (model IN ('per_unit', 'package', 'flat', 'markup', 'graduated')),
    ADD CONSTRAINT tiers_of_graduated CHECK ((model = 'graduated') = (tiers IS NOT NULL) AND (model <> 'graduated' OR (price = 0 AND per = 1))),
    ADD CONSTRAINT no_flat_allowance CHECK (model <> 'flat' OR allowance IS NULL),
    ADD CONSTRAINT only_what_counts_has_a_counter CHECK (counter_id IS NULL OR tiers IS NOT NULL OR allowance IS NOT NULL),
    ADD FOREIGN KEY (tenant_id, counter_id) REFERENCES usage_counters;

CREATE OR REPLACE FUNCTION keep_published_cards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'published' THEN
        RAISE EXCEPTION 'rate card % is published and never changes: % refused', OLD.rate_card_id, TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.status = 'published' AND EXISTS (
        SELECT 1 FROM rate_card_charges c WHERE c.tenant_id = NEW.tenant_id AND c.rate_card_id = NEW.rate_card_id
            AND (c.price_id IS NULL OR (c.counter_id IS NULL AND (c.tiers IS NOT NULL OR c.allowance IS NOT NULL)))
    ) THEN
        RAISE EXCEPTION 'rate card % has a line without a price_id or a counter_id', NEW.rate_card_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- ---------------------------------------------------------------- append-only, row-level security and privileges

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['usage_counters', 'usage_counter_quantities'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO buffmoney_worker USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO buffmoney_edge, buffmoney_core, buffmoney_worker', name);
    END LOOP;
END $$;

GRANT INSERT ON usage_counters TO buffmoney_edge;
GRANT USAGE ON SEQUENCE counter_ids TO buffmoney_edge;
GRANT UPDATE (counter_id) ON rate_card_charges TO buffmoney_edge;
GRANT INSERT ON usage_counter_quantities TO buffmoney_core;
