-- What a commit moved of a customer's counters is one row for each period, and no longer one for each counter: entering every counter into an
-- index made ingest with tiers a third slower than with plain prices.

ALTER TABLE usage_counter_quantities RENAME TO usage_counter_quantities_one_by_one;
ALTER TABLE usage_counter_quantities_one_by_one RENAME CONSTRAINT usage_counter_quantities_pkey TO usage_counter_quantities_one_by_one_pkey;

-- How much a customer had used of its counters in a period after each commit that moved any: of those that it moved, or of all that the
-- period has (whole). Who wants to know where they stand reads back to the last whole row; the core writes one once as many quantities were
-- written since the one before as the period has counters.
CREATE TABLE usage_counter_quantities (
    tenant_id    bigint NOT NULL,
    account_id   bigint NOT NULL,
    period_start timestamptz NOT NULL,
    commit_id    bigint NOT NULL,
    whole        boolean NOT NULL,
    counter_ids  integer[] NOT NULL,                -- rising
    quantities   numeric(38, 9)[] NOT NULL,
    PRIMARY KEY (tenant_id, account_id, period_start, commit_id),
    CHECK (cardinality(counter_ids) > 0 AND cardinality(counter_ids) = cardinality(quantities)),
    CHECK (0 <= ALL (quantities) AND 'NaN' <> ALL (quantities))
);

INSERT INTO usage_counter_quantities
SELECT tenant_id, account_id, period_start, commit_id, false, array_agg(counter_id ORDER BY counter_id), array_agg(quantity ORDER BY counter_id)
FROM usage_counter_quantities_one_by_one GROUP BY 1, 2, 3, 4;

DROP TABLE usage_counter_quantities_one_by_one;

-- Where the counters of an account stand, of periods that began at since or later and before until: down the index from period to period, and
-- in each from the last whole row on.
CREATE FUNCTION counters_of(tenant bigint, account bigint, since timestamptz, until timestamptz)
RETURNS TABLE (period_start timestamptz, counter_id integer, quantity numeric) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE periods AS (
        (SELECT q.period_start FROM usage_counter_quantities q
         WHERE q.tenant_id = tenant AND q.account_id = account AND q.period_start >= since AND q.period_start < until
         ORDER BY q.period_start DESC LIMIT 1)
        UNION ALL
        SELECT before.period_start FROM periods CROSS JOIN LATERAL (
            SELECT q.period_start FROM usage_counter_quantities q
            WHERE q.tenant_id = tenant AND q.account_id = account AND q.period_start >= since AND q.period_start < periods.period_start
            ORDER BY q.period_start DESC LIMIT 1
        ) AS before
    )
    SELECT DISTINCT ON (q.period_start, u.counter_id) q.period_start, u.counter_id, u.quantity
    FROM periods
    CROSS JOIN LATERAL (
        SELECT coalesce((
            SELECT q.commit_id FROM usage_counter_quantities q
            WHERE q.tenant_id = tenant AND q.account_id = account AND q.period_start = periods.period_start AND q.whole
            ORDER BY q.commit_id DESC LIMIT 1
        ), 0) AS commit_id
    ) AS from_here
    JOIN usage_counter_quantities q ON q.tenant_id = tenant AND q.account_id = account AND q.period_start = periods.period_start
        AND q.commit_id >= from_here.commit_id
    CROSS JOIN LATERAL unnest(q.counter_ids, q.quantities) AS u (counter_id, quantity)
    ORDER BY q.period_start, u.counter_id, q.commit_id DESC
$$;
REVOKE ALL ON FUNCTION counters_of(bigint, bigint, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION counters_of(bigint, bigint, timestamptz, timestamptz) TO buffmoney_core;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON usage_counter_quantities FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON usage_counter_quantities EXECUTE FUNCTION refuse_change();
ALTER TABLE usage_counter_quantities ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_counter_quantities FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON usage_counter_quantities TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON usage_counter_quantities TO buffmoney_worker USING (true);
GRANT SELECT ON usage_counter_quantities TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT ON usage_counter_quantities TO buffmoney_core;
