-- A BRIN index knows nothing of blocks that were filled since the last vacuum: whoever asks for the newest commits would read all of
-- them. The worker has new blocks summarised every few seconds instead; as it owns no index, it asks through this function.
CREATE FUNCTION summarize_commit_indexes() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
    JOIN pg_am a ON a.oid = x.relam AND a.amname = 'brin'
    -- Days before yesterday have not changed since they were summarised.
    WHERE i.indrelid IN (
        to_regclass('postings'),
        to_regclass('usage_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')),
        to_regclass('usage_events_' || to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYYMMDD'))
    )
$$;
REVOKE ALL ON FUNCTION summarize_commit_indexes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION summarize_commit_indexes() TO buffmoney_worker;
