-- A version that is scheduled can be replaced at its own moment, until that moment comes: the higher version counts. So two versions may
-- have one start, and only one that has begun is closed to others.

DROP INDEX rate_cards_effect;

CREATE FUNCTION keep_begun_moments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.effective_from IS NULL OR NEW.effective_from <= NEW.published_at) AND EXISTS (
        SELECT FROM rate_cards r
        WHERE r.tenant_id = NEW.tenant_id AND r.product_id = NEW.product_id AND r.status = 'published' AND r.audience = 'everyone'
            AND r.effective_from IS NOT DISTINCT FROM NEW.effective_from AND r.rate_card_id <> NEW.rate_card_id
    ) THEN
        RAISE EXCEPTION 'another version of the product % has begun at the moment of rate card %', NEW.product_id, NEW.rate_card_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_begun BEFORE INSERT OR UPDATE ON rate_cards FOR EACH ROW
    WHEN (NEW.status = 'published' AND NEW.audience = 'everyone') EXECUTE FUNCTION keep_begun_moments();
