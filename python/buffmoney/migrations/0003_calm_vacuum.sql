-- Tables that only grow need vacuum for freezing and the visibility map alone. PostgreSQL's defaults would visit a young table after every
-- tenth and fifth of growth, which at full ingest is all the time. Seen at work during load; what it cost a batch was not measured apart.

DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT unnest(ARRAY['event_keys', 'postings', 'commits', 'wallet_commands'])
                UNION ALL SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_events'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_threshold = 20000000, autovacuum_vacuum_insert_scale_factor = 0.5, '
                       'autovacuum_analyze_threshold = 1000000, autovacuum_analyze_scale_factor = 0.5)', name);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION ensure_usage_partition(day date) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE name text := 'usage_events_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext(name));
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF usage_events FOR VALUES FROM (%L) TO (%L) WITH '
                           '(autovacuum_vacuum_insert_threshold = 20000000, autovacuum_vacuum_insert_scale_factor = 0.5, '
                           'autovacuum_analyze_threshold = 1000000, autovacuum_analyze_scale_factor = 0.5)', name,
                           day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
            EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name);
            EXECUTE format('GRANT SELECT, INSERT ON %I TO buffmoney_core', name);
        END IF;
    END IF;
    RETURN name;
END $$;
