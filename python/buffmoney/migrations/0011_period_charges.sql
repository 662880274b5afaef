-- Charges at the end of a billing period: volume tiers and minimums per period.

-- ---------------------------------------------------------------- lines

-- A line that is settled at the end of a period has two counters of its own: the units of a period, and what its events were charged.
ALTER TABLE usage_counters
    ADD COLUMN measure text NOT NULL DEFAULT 'quantity' CHECK (measure IN ('quantity', 'period_quantity', 'period_charge'));
CREATE INDEX usage_counters_period ON usage_counters (tenant_id) WHERE measure = 'period_quantity';

ALTER TABLE rate_card_charges
    ADD COLUMN minimum_per_period         numeric(38, 9) CHECK (minimum_per_period > 0 AND minimum_per_period <> 'NaN'),
    ADD COLUMN period_quantity_counter_id integer,
    ADD COLUMN period_charge_counter_id   integer,
    DROP CONSTRAINT rate_card_charges_model_check,
    ADD CONSTRAINT rate_card_charges_model_check CHECK (model IN ('per_unit', 'package', 'flat', 'markup', 'graduated', 'volume')),
    DROP CONSTRAINT tiers_of_graduated,
    ADD CONSTRAINT tiers_of_their_models CHECK ((model IN ('graduated', 'volume')) = (tiers IS NOT NULL) AND (tiers IS NULL OR (price = 0 AND per = 1))),
    DROP CONSTRAINT only_what_counts_has_a_counter,
    ADD CONSTRAINT only_what_counts_has_a_counter CHECK (counter_id IS NULL OR (model <> 'volume' AND (tiers IS NOT NULL OR allowance IS NOT NULL))),
    ADD CONSTRAINT no_minimum_of_volume_events CHECK (model <> 'volume' OR minimum IS NULL),
    ADD CONSTRAINT only_what_is_settled_has_period_counters CHECK (
        (period_quantity_counter_id IS NULL) = (period_charge_counter_id IS NULL)
        AND (period_quantity_counter_id IS NULL OR model = 'volume' OR minimum_per_period IS NOT NULL)),
    ADD FOREIGN KEY (tenant_id, period_quantity_counter_id) REFERENCES usage_counters,
    ADD FOREIGN KEY (tenant_id, period_charge_counter_id) REFERENCES usage_counters;

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
            AND (c.price_id IS NULL
                OR (c.counter_id IS NULL AND c.model <> 'volume' AND (c.tiers IS NOT NULL OR c.allowance IS NOT NULL))
                OR (c.period_quantity_counter_id IS NULL AND (c.model = 'volume' OR c.minimum_per_period IS NOT NULL)))
    ) THEN
        RAISE EXCEPTION 'rate card % has a line without a price_id or a counter_id', NEW.rate_card_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- How the customers of the tenant pay that the edge acts for: of merchants it sees nothing else.
CREATE FUNCTION current_billing() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT g.billing FROM tenants t JOIN merchants g USING (merchant_id) WHERE t.tenant_id = current_tenant()
$$;
REVOKE ALL ON FUNCTION current_billing() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_billing() TO buffmoney_edge;

GRANT UPDATE (period_quantity_counter_id, period_charge_counter_id) ON rate_card_charges TO buffmoney_edge;

-- ---------------------------------------------------------------- charges of periods

-- Every row there is was checked by the narrower rule.
ALTER TABLE postings DROP CONSTRAINT postings_kind_check, ADD CONSTRAINT postings_kind_check CHECK (kind BETWEEN 1 AND 10) NOT VALID;
INSERT INTO posting_kinds VALUES (9, 'period_charge'), (10, 'period_charge_reversal');

-- What a period of a customer on a line costs beyond what its events were charged, revision by revision: the last one counts. Each states the
-- counters of its commit, the line it was settled by, and the total; amount is that less the total of the revision before, and what was posted.
-- The rows' hashes are part of their commits' digests, so that nobody changes one unseen.
CREATE TABLE period_charges (
    tenant_id     bigint NOT NULL,
    account_id    bigint NOT NULL,
    period_start  timestamptz NOT NULL,
    counter_id    integer NOT NULL,                     -- of the units
    revision      integer NOT NULL CHECK (revision > 0),
    price_id      integer NOT NULL,
    quantity      numeric(38, 9) NOT NULL CHECK (quantity >= 0 AND quantity <> 'NaN'),
    charged       numeric(38, 9) NOT NULL CHECK (charged >= 0 AND charged <> 'NaN'),
    total         numeric(38, 9) NOT NULL CHECK (total >= 0 AND total <> 'NaN'),
    amount        numeric(38, 9) NOT NULL CHECK (amount <> 'NaN'),
    parts         bytea NOT NULL,                       -- 32 bytes each: grant id (zero: overdraft), nano amount that it pays of the total
    posting_seq   bigint NOT NULL CHECK (posting_seq >= 0),  -- the first posting of the amount; 0: there is none
    balance_after numeric(38, 9) NOT NULL CHECK (balance_after <> 'NaN'),
    commit_id     bigint NOT NULL,
    settled_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id, period_start, counter_id, revision),
    CHECK ((amount = 0) = (posting_seq = 0))
);
-- Listed newest first. A commit has one revision of a period at most.
CREATE UNIQUE INDEX period_charges_newest ON period_charges (tenant_id, commit_id, account_id, period_start, counter_id);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON period_charges FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON period_charges EXECUTE FUNCTION refuse_change();

ALTER TABLE period_charges ENABLE ROW LEVEL SECURITY;
ALTER TABLE period_charges FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON period_charges TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON period_charges TO buffmoney_worker USING (true);
GRANT SELECT ON period_charges TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT ON period_charges TO buffmoney_core;
