-- A table of event keys gets its index when it is closed, not while it grows: to enter every random key into an index at once was half of
-- what a commit cost. The core has the keys of the open table in memory, all of them, and decides by them (rust_core/src/key_tables.rs).

ALTER TABLE key_tables
    ADD COLUMN indexed   boolean NOT NULL DEFAULT true,
    ADD COLUMN span_from integer;                    -- with the filter: it is of the partition's tables from this one to its own
ALTER TABLE key_tables ALTER COLUMN indexed SET DEFAULT false;
UPDATE key_tables SET span_from = key_table WHERE filter IS NOT NULL;
ALTER TABLE key_tables ADD CONSTRAINT filter_of_a_span CHECK ((filter IS NULL) = (span_from IS NULL));
GRANT UPDATE (span_from) ON key_tables TO buffmoney_core;

CREATE OR REPLACE FUNCTION open_key_table(partition integer, capacity bigint) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    number integer := nextval('key_table_numbers');
    name text := 'event_keys_' || number;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE event_keys, CONSTRAINT its_own CHECK (key_table = %s)) WITH '
                   '(autovacuum_vacuum_insert_threshold = 20000000, autovacuum_vacuum_insert_scale_factor = 0.5, '
                   'autovacuum_analyze_threshold = 1000000, autovacuum_analyze_scale_factor = 0.5)', name, number);
    EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO buffmoney_core', name);
    EXECUTE format('ALTER TABLE event_keys ATTACH PARTITION %I FOR VALUES IN (%s)', name, number);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT its_own', name);
    INSERT INTO key_tables (key_table, partition_id, capacity) VALUES (number, partition, capacity);
    RETURN number;
END $$;

-- Called by the core when a table is closed. Nobody writes to it any more, and readers are not kept waiting. A unique violation here means
-- that an event was taken twice. On one processor: commits need the others.
CREATE FUNCTION index_key_table(number integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET max_parallel_maintenance_workers = 0 AS $$
BEGIN
    IF NOT (SELECT indexed FROM key_tables WHERE key_table = number FOR UPDATE) THEN
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (tenant_id, key_hash)', 'event_keys_' || number || '_pkey', 'event_keys_' || number);
        UPDATE key_tables SET indexed = true WHERE key_table = number;
    END IF;
END $$;
REVOKE ALL ON FUNCTION index_key_table(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION index_key_table(integer) TO buffmoney_core;
