-- Prices in several currencies side by side, and customers that meet a rate card of their own.

-- ---------------------------------------------------------------- currencies

-- A line has a row for each currency that it has a price in; each has a price_id of its own.
ALTER TABLE rate_card_charges ADD COLUMN currency text;
ALTER TABLE rate_card_charges DISABLE TRIGGER keep_published;
UPDATE rate_card_charges c SET currency = r.currency FROM rate_cards r WHERE r.tenant_id = c.tenant_id AND r.rate_card_id = c.rate_card_id;
ALTER TABLE rate_card_charges ENABLE TRIGGER keep_published;
ALTER TABLE rate_card_charges
    ALTER COLUMN currency SET NOT NULL,
    ADD CHECK (currency ~ '^[A-Z]{3}$'),
    DROP CONSTRAINT rate_card_charges_pkey,
    ADD PRIMARY KEY (tenant_id, rate_card_id, line, currency);

-- Whether a tenant has customers of more than one currency is asked before their charges are added up.
CREATE INDEX customers_currency ON customers (tenant_id, currency);

COMMENT ON COLUMN commits.charged IS 'a checksum: the charges of its events, added up whatever their currencies are';

-- ---------------------------------------------------------------- customers' own cards

-- Who meets a version: everyone who has no card of their own, while it is in force; or only those to whom it is assigned.
ALTER TABLE rate_cards ADD COLUMN audience text NOT NULL DEFAULT 'everyone' CHECK (audience IN ('everyone', 'assigned'));
GRANT UPDATE (audience) ON rate_cards TO buffmoney_edge;

DROP INDEX rate_cards_effect;
CREATE UNIQUE INDEX rate_cards_effect ON rate_cards (tenant_id, product_id, effective_from) NULLS NOT DISTINCT
    WHERE status = 'published' AND audience = 'everyone';

ALTER TABLE rate_cards ADD UNIQUE (tenant_id, product_id, rate_card_id);

CREATE TABLE customer_rate_cards (
    tenant_id      bigint NOT NULL,
    account_id     bigint NOT NULL,
    product_id     text NOT NULL,
    sequence       integer NOT NULL CHECK (sequence > 0),  -- 1, 2, … of this customer and product; of two with the same start the later one counts
    effective_from timestamptz NOT NULL,
    rate_card_id   text,                                   -- NULL: the product's default cards
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id, product_id, sequence),
    FOREIGN KEY (tenant_id, account_id) REFERENCES customers,
    FOREIGN KEY (tenant_id, product_id) REFERENCES products,
    FOREIGN KEY (tenant_id, product_id, rate_card_id) REFERENCES rate_cards (tenant_id, product_id, rate_card_id)
);

-- Nothing is ever priced by a draft.
CREATE FUNCTION assign_published_cards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.rate_card_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM rate_cards r WHERE r.tenant_id = NEW.tenant_id AND r.rate_card_id = NEW.rate_card_id AND r.status = 'published'
    ) THEN
        RAISE EXCEPTION 'rate card % is not published: it cannot be assigned', NEW.rate_card_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_published BEFORE INSERT ON customer_rate_cards FOR EACH ROW EXECUTE FUNCTION assign_published_cards();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON customer_rate_cards FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON customer_rate_cards EXECUTE FUNCTION refuse_change();

ALTER TABLE customer_rate_cards ENABLE ROW LEVEL SECURITY;
ALTER TABLE customer_rate_cards FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON customer_rate_cards TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON customer_rate_cards TO buffmoney_worker USING (true);
GRANT SELECT ON customer_rate_cards TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT ON customer_rate_cards TO buffmoney_edge;
