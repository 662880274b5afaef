-- Products own rate cards. A row of rate_cards is a draft, which can be edited and deleted, or one published version of its product's card,
-- which never changes again. Lines get a model and what the models need.

-- ---------------------------------------------------------------- products

CREATE TABLE products (
    tenant_id  bigint NOT NULL REFERENCES tenants,
    product_id text NOT NULL CHECK (product_id ~ '^prod_[0-9a-f]{24}$'),
    code       text COLLATE "C" NOT NULL CHECK (code ~ '^[a-z][a-z0-9_]{0,63}$'),
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, product_id),
    UNIQUE (tenant_id, code)
);

-- Ids as base/ids.py makes them: 48 bits of milliseconds and 48 random bits.
INSERT INTO products (tenant_id, product_id, code, name, created_at)
SELECT tenant_id,
       'prod_' || lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || right(replace(gen_random_uuid()::text, '-', ''), 12),
       'default', 'default', created_at
FROM tenants;

-- Which product prices a metric: only one, or an event could meet two cards. The first published card with the metric decides, for good.
CREATE TABLE product_metrics (
    tenant_id  bigint NOT NULL,
    metric_id  integer NOT NULL,
    product_id text NOT NULL,
    PRIMARY KEY (tenant_id, metric_id),
    FOREIGN KEY (tenant_id, metric_id) REFERENCES metrics,
    FOREIGN KEY (tenant_id, product_id) REFERENCES products
);
INSERT INTO product_metrics (tenant_id, metric_id, product_id)
SELECT DISTINCT c.tenant_id, c.metric_id, p.product_id FROM rate_card_charges c JOIN products p USING (tenant_id);

-- ---------------------------------------------------------------- drafts and versions

DROP TRIGGER append_only ON rate_cards;
DROP TRIGGER append_only ON rate_card_charges;

ALTER TABLE rate_cards
    ADD COLUMN product_id   text,
    ADD COLUMN status       text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'published')),
    ADD COLUMN version      integer CHECK (version > 0),  -- 1, 2, … in its product, given at publishing
    ADD COLUMN published_at timestamptz;

UPDATE rate_cards r
SET product_id = p.product_id, status = 'published', version = n.version, published_at = r.created_at
FROM products p,
     (SELECT tenant_id, rate_card_id, row_number() OVER (PARTITION BY tenant_id ORDER BY created_at, rate_card_id) AS version FROM rate_cards) n
WHERE p.tenant_id = r.tenant_id AND n.tenant_id = r.tenant_id AND n.rate_card_id = r.rate_card_id;

ALTER TABLE rate_cards
    ALTER COLUMN product_id SET NOT NULL,
    ADD FOREIGN KEY (tenant_id, product_id) REFERENCES products,
    ADD UNIQUE (tenant_id, product_id, version),
    ADD CONSTRAINT numbered_when_published CHECK ((status = 'published') = (version IS NOT NULL)),
    ADD CONSTRAINT dated_when_published CHECK ((status = 'published') = (published_at IS NOT NULL));
-- Which of two versions counts must not be left to chance.
CREATE UNIQUE INDEX rate_cards_effect ON rate_cards (tenant_id, product_id, effective_from) NULLS NOT DISTINCT WHERE status = 'published';

-- A draft's lines have no price_id: whoever edits drafts all day must not use up the numbers.
ALTER TABLE rate_card_charges
    ALTER COLUMN price_id DROP NOT NULL,
    ADD COLUMN model   text NOT NULL DEFAULT 'per_unit' CHECK (model IN ('per_unit', 'package', 'flat', 'markup')),
    ADD COLUMN percent numeric(38, 9) CHECK (percent >= 0 AND percent <> 'NaN'),
    ADD COLUMN minimum numeric(38, 9) CHECK (minimum > 0 AND minimum <> 'NaN'),
    ADD CONSTRAINT fields_of_the_model CHECK ((model = 'markup') = (percent IS NOT NULL) AND (model <> 'flat' OR per = 1));
COMMENT ON COLUMN rate_card_charges.price IS 'of the model markup: the cost';

CREATE FUNCTION keep_published_cards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'published' THEN
        RAISE EXCEPTION 'rate card % is published and never changes: % refused', OLD.rate_card_id, TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.status = 'published' AND EXISTS (
        SELECT 1 FROM rate_card_charges c WHERE c.tenant_id = NEW.tenant_id AND c.rate_card_id = NEW.rate_card_id AND c.price_id IS NULL
    ) THEN
        RAISE EXCEPTION 'rate card % has a line without a price_id', NEW.rate_card_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_published BEFORE UPDATE OR DELETE ON rate_cards FOR EACH ROW EXECUTE FUNCTION keep_published_cards();

CREATE FUNCTION keep_published_lines() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    line rate_card_charges;
    status_now text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        line := OLD;
    ELSE
        line := NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.tenant_id, NEW.rate_card_id) IS DISTINCT FROM (OLD.tenant_id, OLD.rate_card_id) THEN
        RAISE EXCEPTION 'a line stays with its rate card' USING ERRCODE = 'restrict_violation';
    END IF;
    -- FOR SHARE: a publishing that is under way is waited for, so no line slips in behind it.
    SELECT r.status INTO status_now FROM rate_cards r WHERE r.tenant_id = line.tenant_id AND r.rate_card_id = line.rate_card_id FOR SHARE;
    IF status_now IS DISTINCT FROM 'draft' THEN
        RAISE EXCEPTION 'rate card % is published or unknown: % of its lines refused', line.rate_card_id, TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN line;
END $$;
CREATE TRIGGER keep_published BEFORE INSERT OR UPDATE OR DELETE ON rate_card_charges FOR EACH ROW EXECUTE FUNCTION keep_published_lines();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON product_metrics FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON product_metrics EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- row-level security and privileges

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['products', 'product_metrics'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO buffmoney_worker USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO buffmoney_edge, buffmoney_core, buffmoney_worker', name);
    END LOOP;
END $$;

GRANT INSERT ON products, product_metrics TO buffmoney_edge;
-- For drafts: the triggers refuse it for whatever is published.
GRANT UPDATE (product_id, name, currency, effective_from, status, version, published_at), DELETE ON rate_cards TO buffmoney_edge;
GRANT UPDATE (price_id), DELETE ON rate_card_charges TO buffmoney_edge;
