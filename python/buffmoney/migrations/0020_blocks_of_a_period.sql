-- Packages whose blocks are those of a billing period, and holds of zero.

-- ---------------------------------------------------------------- blocks

-- Whose blocks a package line counts. Lines that are there were written when blocks were those of each event, and keep that meaning.
ALTER TABLE rate_card_charges ADD COLUMN blocks text CHECK (blocks IN ('period', 'event'));
ALTER TABLE rate_card_charges DISABLE TRIGGER keep_published;
UPDATE rate_card_charges SET blocks = 'event' WHERE model = 'package';
ALTER TABLE rate_card_charges ENABLE TRIGGER keep_published;
ALTER TABLE rate_card_charges
    ADD CONSTRAINT blocks_of_packages CHECK ((model = 'package') = (blocks IS NOT NULL)),
    ADD CONSTRAINT fields_of_blocks_of_a_period CHECK (blocks IS DISTINCT FROM 'period' OR (minimum IS NULL AND price > 0)),
    DROP CONSTRAINT only_what_counts_has_a_counter,
    ADD CONSTRAINT only_what_counts_has_a_counter CHECK (
        counter_id IS NULL OR (model <> 'volume' AND (tiers IS NOT NULL OR allowance IS NOT NULL OR blocks IS NOT DISTINCT FROM 'period')));

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
                OR (c.counter_id IS NULL AND c.model <> 'volume'
                    AND (c.tiers IS NOT NULL OR c.allowance IS NOT NULL OR c.blocks IS NOT DISTINCT FROM 'period'))
                OR (c.period_quantity_counter_id IS NULL AND (c.model = 'volume' OR c.minimum_per_period IS NOT NULL)))
    ) THEN
        RAISE EXCEPTION 'rate card % has a line without a price_id or a counter_id', NEW.rate_card_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- A counter of blocks counts units less those of the blocks that were bought: below zero, so many are left.
ALTER TABLE usage_counters
    DROP CONSTRAINT usage_counters_measure_check,
    ADD CONSTRAINT usage_counters_measure_check CHECK (measure IN ('quantity', 'blocks', 'period_quantity', 'period_charge'));
-- Every row there is was checked by the narrower rule.
ALTER TABLE usage_counter_quantities
    DROP CONSTRAINT usage_counter_quantities_quantities_check,
    ADD CONSTRAINT usage_counter_quantities_quantities_check CHECK ('NaN' <> ALL (quantities)) NOT VALID;
DO $$
DECLARE name text;
BEGIN
    SELECT conname INTO STRICT name FROM pg_constraint
    WHERE conrelid = 'usage_voids'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%counter_before%';
    EXECUTE format('ALTER TABLE usage_voids DROP CONSTRAINT %I', name);
END $$;
ALTER TABLE usage_voids ADD CONSTRAINT usage_voids_counter_before_check CHECK (counter_before <> 'NaN') NOT VALID;

-- ---------------------------------------------------------------- holds

-- What estimated events come to may be nothing: they are free, or priced at the end of their period.
ALTER TABLE holds
    DROP CONSTRAINT holds_amount_check,
    ADD CONSTRAINT holds_amount_check CHECK (amount >= 0 AND amount <> 'NaN') NOT VALID;
