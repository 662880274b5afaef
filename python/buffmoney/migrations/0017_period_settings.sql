-- A merchant can change where its billing periods begin. A change takes effect at the end of a period, so that no period that has begun
-- ever changes: rows are only added, and only for what is to come.

CREATE TABLE tenant_period_settings (
    tenant_id      bigint NOT NULL REFERENCES tenants,
    effective_from timestamptz NOT NULL,                    -- by when usage occurred; -infinity: since ever
    revision       integer NOT NULL CHECK (revision > 0),   -- of the same start the highest counts
    time_zone      text NOT NULL CHECK (length(time_zone) BETWEEN 1 AND 255),
    anchor_day     smallint NOT NULL CHECK (anchor_day BETWEEN 1 AND 31),
    created_at     timestamptz NOT NULL CHECK (isfinite(created_at)),
    PRIMARY KEY (tenant_id, effective_from, revision),
    CHECK (effective_from < 'infinity')
);

INSERT INTO tenant_period_settings (tenant_id, effective_from, revision, time_zone, anchor_day, created_at)
SELECT tenant_id, '-infinity', 1, time_zone, anchor_day, created_at FROM tenants;
ALTER TABLE tenants DROP COLUMN time_zone, DROP COLUMN anchor_day;

-- The first row of a tenant has been in force since ever; any other begins no earlier than the one before it, and not in the past. A minute
-- is for clocks that differ and for a transaction that was made to wait: until then no period that it makes shorter is over.
CREATE FUNCTION only_periods_to_come() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last tenant_period_settings;
BEGIN
    SELECT * INTO last FROM tenant_period_settings s WHERE s.tenant_id = NEW.tenant_id ORDER BY effective_from DESC, revision DESC LIMIT 1;
    IF last.tenant_id IS NULL THEN
        IF isfinite(NEW.effective_from) OR NEW.revision <> 1 THEN
            RAISE EXCEPTION 'the first setting of tenant % is in force since ever', NEW.tenant_id USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF NEW.effective_from < greatest(last.effective_from, clock_timestamp() - interval '1 minute')
        OR NEW.revision <> (CASE WHEN NEW.effective_from = last.effective_from THEN last.revision + 1 ELSE 1 END)
    THEN
        RAISE EXCEPTION 'periods of tenant % that have begun never change: % refused', NEW.tenant_id, TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER only_periods_to_come BEFORE INSERT ON tenant_period_settings FOR EACH ROW EXECUTE FUNCTION only_periods_to_come();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON tenant_period_settings FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON tenant_period_settings EXECUTE FUNCTION refuse_change();

-- What counts of a tenant's settings, in order of effect: [[since, in microseconds, or null, time zone, anchor day], …]. Read by
-- base/periods.py.
CREATE FUNCTION period_settings(tenant bigint) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT coalesce(json_agg(json_build_array(
        CASE WHEN isfinite(effective_from) THEN (extract(epoch FROM effective_from) * 1000000)::bigint END, time_zone, anchor_day)
        ORDER BY effective_from), '[]')
    FROM (
        SELECT DISTINCT ON (effective_from) effective_from, time_zone, anchor_day FROM tenant_period_settings
        WHERE tenant_id = tenant ORDER BY effective_from, revision DESC
    ) AS counting
$$;

ALTER TABLE tenant_period_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_period_settings FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON tenant_period_settings TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON tenant_period_settings TO buffmoney_worker USING (true);
GRANT SELECT ON tenant_period_settings TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT ON tenant_period_settings TO buffmoney_edge;
