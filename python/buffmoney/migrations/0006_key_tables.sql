-- event_keys becomes many tables. Each has an index of its own that stays small, because keys are random: in one index of all keys every new
-- one would meet another page. A table is written by one partition until it is full, and then never again. That a key is in no
-- closed table is known to the core by their filters (rust_core/src/key_tables.rs); inside a table the primary key decides.

ALTER TABLE event_keys RENAME TO event_keys_1;
ALTER TABLE event_keys_1 RENAME CONSTRAINT event_keys_pkey TO event_keys_1_pkey;
ALTER TABLE event_keys_1 ADD COLUMN key_table integer NOT NULL DEFAULT 1;
ALTER TABLE event_keys_1 ALTER COLUMN key_table DROP DEFAULT;

CREATE TABLE event_keys (
    tenant_id   bigint NOT NULL,
    key_hash    uuid NOT NULL,
    fingerprint bigint NOT NULL,                     -- 64 bits of blake3 over the payload
    commit_id   bigint NOT NULL,
    key_table   integer NOT NULL
) PARTITION BY LIST (key_table);

CREATE TABLE key_tables (
    key_table    integer PRIMARY KEY,
    partition_id integer,                            -- NULL: of all partitions, from before there were several
    capacity     bigint NOT NULL CHECK (capacity > 0),
    keys         bigint,                             -- with the filter: how many there are
    filter       bytea,                              -- of a closed table: see rust_core/src/key_filter.rs
    opened_at    timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE key_table_numbers AS integer START 2;

DO $$
DECLARE stored bigint := (SELECT count(*) FROM event_keys_1);
BEGIN
    IF stored = 0 THEN
        DROP TABLE event_keys_1;
    ELSE
        DROP TRIGGER append_only ON event_keys_1;
        DROP POLICY one_tenant ON event_keys_1;
        DROP POLICY all_tenants ON event_keys_1;
        ALTER TABLE event_keys_1 NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE event_keys_1 DISABLE ROW LEVEL SECURITY;
        REVOKE ALL ON event_keys_1 FROM buffmoney_edge, buffmoney_worker;
        ALTER TABLE event_keys ATTACH PARTITION event_keys_1 FOR VALUES IN (1);
        INSERT INTO key_tables (key_table, capacity) VALUES (1, stored);
    END IF;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON event_keys FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON event_keys EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON key_tables EXECUTE FUNCTION refuse_change();

-- Called by the core when a table is nearly full; runs as its owner because the core owns nothing. ATTACH, and not CREATE … PARTITION OF: that
-- would wait for everybody who reads event_keys, and everybody after it for that.
CREATE FUNCTION open_key_table(partition integer, capacity bigint) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    number integer := nextval('key_table_numbers');
    name text := 'event_keys_' || number;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE event_keys, PRIMARY KEY (tenant_id, key_hash), CONSTRAINT its_own CHECK (key_table = %s)) WITH '
                   '(autovacuum_vacuum_insert_threshold = 20000000, autovacuum_vacuum_insert_scale_factor = 0.5, '
                   'autovacuum_analyze_threshold = 1000000, autovacuum_analyze_scale_factor = 0.5)', name, number);
    EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO buffmoney_core', name);
    EXECUTE format('ALTER TABLE event_keys ATTACH PARTITION %I FOR VALUES IN (%s)', name, number);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT its_own', name);
    INSERT INTO key_tables (key_table, partition_id, capacity) VALUES (number, partition, capacity);
    RETURN number;
END $$;
REVOKE ALL ON FUNCTION open_key_table(integer, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_key_table(integer, bigint) TO buffmoney_core;

ALTER TABLE event_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON event_keys TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON event_keys TO buffmoney_worker USING (true);
GRANT SELECT ON event_keys TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT ON event_keys TO buffmoney_core;
GRANT SELECT, UPDATE (keys, filter) ON key_tables TO buffmoney_core;
