-- Statements of the core: its lease, what it loads, what it writes besides COPY, and what it looks up after a refusal.

-- name: take_lease
UPDATE partitions
SET epoch = epoch + 1, holder = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE partition_id = $1 AND (lease_until < clock_timestamp() OR holder IN ($2, $4))
RETURNING epoch, commit_seq, head, head_mac

-- name: end_predecessors
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name LIKE $1

-- name: end_overdue
-- The same, if the lease is over.
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN partitions p ON p.partition_id = $1 AND p.lease_until < clock_timestamp()
WHERE a.datname = current_database() AND a.usename = current_user AND a.application_name LIKE $2

-- name: renew_lease
UPDATE partitions SET lease_until = clock_timestamp() + make_interval(secs => $4)
WHERE partition_id = $1 AND epoch = $2 AND holder = $3
RETURNING epoch

-- name: release_lease
UPDATE partitions SET lease_until = clock_timestamp() WHERE partition_id = $1 AND epoch = $2 AND holder = $3

-- name: read_partition
SELECT epoch, holder, commit_seq, lease_until > clock_timestamp() AS leased FROM partitions WHERE partition_id = $1

-- name: check_epoch
-- Locks nothing: an empty group writes nothing, it only must not be answered by a core that has lost its partition.
SELECT epoch FROM partitions WHERE partition_id = $1

-- name: advance_partition
-- The last statement of every commit. No row: another core has taken the partition.
UPDATE partitions SET commit_seq = $3, head = $4, head_mac = $5
WHERE partition_id = $1 AND epoch = $2 AND commit_seq = $3 - 1

-- name: head_at
SELECT head FROM commits WHERE partition_id = $1 AND commit_seq = $2

-- name: ensure_partition
SELECT ensure_usage_partition($1)

-- name: close_holds
UPDATE holds AS h SET status = closed.status, captured = closed.captured::numeric, closed_commit_id = $5
FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[]) AS closed (tenant_id, hold_id, status, captured)
WHERE h.tenant_id = closed.tenant_id AND h.hold_id = closed.hold_id AND h.status = 'open'

-- name: expire_grants
-- Set once: a grant whose rest comes back from a hold later expires again, but it was past before.
UPDATE grants AS g SET expired_commit_id = $3
FROM unnest($1::bigint[], $2::uuid[]) AS due (tenant_id, grant_id)
WHERE g.tenant_id = due.tenant_id AND g.grant_id = due.grant_id AND g.expired_commit_id IS NULL

-- name: configure_customers
UPDATE customers AS c SET overdraft_limit = changed.overdraft_limit::numeric, low_balance_threshold = changed.threshold::numeric
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS changed (tenant_id, account_id, overdraft_limit, threshold)
WHERE c.tenant_id = changed.tenant_id AND c.account_id = changed.account_id

-- name: existing_keys
-- Of the keys that a table may hold, those it does. LATERAL and LIMIT make each a look-up in the table's index.
SELECT k.* FROM unnest(${tenants}::bigint[], ${wanted}::uuid[]) AS wanted (tenant_id, key_hash)
CROSS JOIN LATERAL (
    SELECT e.tenant_id, e.key_hash, e.fingerprint, e.commit_id FROM event_keys_{table} e
    WHERE e.tenant_id = wanted.tenant_id AND e.key_hash = wanted.key_hash LIMIT 1
) k

-- name: existing_keys_in_memory_tables
-- The same for tables that may have no index, whose keys the engine has in memory: one look at each row, however many are wanted.
SELECT tenant_id, key_hash, fingerprint, commit_id FROM event_keys WHERE key_table = ANY ($1::integer[]) AND key_hash = ANY ($2::uuid[])

-- name: key_tables
-- The partition's own, and the one from before there were several; the newest first.
SELECT key_table, partition_id, capacity, keys, keys IS NOT NULL OR partition_id IS NULL AS closed, filter IS NOT NULL AS filtered, span_from, indexed
FROM key_tables WHERE partition_id = $1 OR partition_id IS NULL ORDER BY key_table DESC

-- name: key_filter
SELECT filter FROM key_tables WHERE key_table = $1

-- name: open_key_table
SELECT open_key_table($1, $2)

-- name: index_key_table
SELECT index_key_table($1)

-- name: close_key_table
-- Only for the core that has the partition, and it cannot lose it meanwhile: another's filter may lack keys of its successor.
WITH mine AS (SELECT FROM partitions WHERE partition_id = $1 AND epoch = $2 FOR SHARE)
UPDATE key_tables SET keys = $4, filter = $5, span_from = $6 WHERE key_table = $3 AND keys IS NULL AND EXISTS (SELECT FROM mine)

-- name: existing_commands
SELECT c.tenant_id, c.command_id, c.fingerprint, c.result
FROM unnest($1::bigint[], $2::uuid[]) AS wanted (tenant_id, command_id)
JOIN wallet_commands c ON c.tenant_id = wanted.tenant_id AND c.command_id = wanted.command_id

-- name: commits_of_messages
-- In which of the last minutes' commits each message was. Ids lie at multiples of 16 bytes.
SELECT wanted.id, c.commit_id, c.committed_at
FROM unnest($2::bytea[]) AS wanted (id)
JOIN commits c ON c.partition_id = $1 AND c.commit_seq > $3 AND c.committed_at > clock_timestamp() - interval '10 minutes'
    AND position(wanted.id IN c.messages) % 16 = 1
ORDER BY c.commit_seq

-- name: charges_in_commit
SELECT idempotency_key, trunc(charge * 1000000000)::text AS charge_nano FROM usage_events
WHERE tenant_id = $1 AND commit_id = $2 AND accepted_at = $3
    AND idempotency_key = ANY ($4::text[])

-- name: wallets_by_name
SELECT c.tenant_id, c.account_id, c.external_id, c.currency, c.overdraft_limit::text, c.low_balance_threshold::text,
    coalesce(p.seq, 0) AS seq, coalesce(p.balance_after, 0)::text AS balance, coalesce(p.held_after, 0)::text AS held,
    coalesce(p.unbilled_after, 0)::text AS unbilled, p.chain_hash, p.grants_after
FROM unnest($1::bigint[], $2::text[]) AS wanted (tenant_id, external_id)
JOIN customers c ON c.tenant_id = wanted.tenant_id AND c.external_id = wanted.external_id
LEFT JOIN LATERAL (
    SELECT seq, balance_after, held_after, unbilled_after, chain_hash, grants_after FROM postings
    WHERE tenant_id = c.tenant_id AND account_id = c.account_id ORDER BY seq DESC LIMIT 1
) p ON true

-- name: wallets_by_account
SELECT c.tenant_id, c.account_id, c.external_id, c.currency, c.overdraft_limit::text, c.low_balance_threshold::text,
    coalesce(p.seq, 0) AS seq, coalesce(p.balance_after, 0)::text AS balance, coalesce(p.held_after, 0)::text AS held,
    coalesce(p.unbilled_after, 0)::text AS unbilled, p.chain_hash, p.grants_after
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, account_id)
JOIN customers c ON c.tenant_id = wanted.tenant_id AND c.account_id = wanted.account_id
LEFT JOIN LATERAL (
    SELECT seq, balance_after, held_after, unbilled_after, chain_hash, grants_after FROM postings
    WHERE tenant_id = c.tenant_id AND account_id = c.account_id ORDER BY seq DESC LIMIT 1
) p ON true

-- name: counters_of
-- Where the counters of these accounts stand, of periods that began at $3 or later.
SELECT wanted.account_id, c.counter_id, (extract(epoch FROM c.period_start) * 1000000)::bigint AS period_start_us, c.quantity::text AS quantity
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, account_id)
CROSS JOIN LATERAL counters_of(wanted.tenant_id, wanted.account_id, $3, 'infinity') AS c

-- name: holds_by_id
SELECT h.tenant_id, h.hold_id, h.account_id, h.amount::text AS amount, h.parts,
    (extract(epoch FROM h.expires_at) * 1000000)::bigint AS expires_us, h.status
FROM unnest($1::bigint[], $2::uuid[]) AS wanted (tenant_id, hold_id)
JOIN holds h ON h.tenant_id = wanted.tenant_id AND h.hold_id = wanted.hold_id

-- name: grants_by_id
SELECT g.tenant_id, g.grant_id, g.kind, g.priority, g.amount::text AS amount,
    (extract(epoch FROM g.expires_at) * 1000000)::bigint AS expires_us, (extract(epoch FROM g.created_at) * 1000000)::bigint AS created_us
FROM unnest($1::bigint[], $2::uuid[]) AS wanted (tenant_id, grant_id)
JOIN grants g ON g.tenant_id = wanted.tenant_id AND g.grant_id = wanted.grant_id

-- name: reserve_account_ids
SELECT nextval('account_ids') AS account_id FROM generate_series(1, $1)

-- name: catalog_versions
SELECT tenant_id, catalog_version FROM tenants WHERE partition_id = $1

-- name: due_grants
SELECT g.tenant_id, g.account_id, g.grant_id FROM grants g JOIN tenants t ON t.tenant_id = g.tenant_id AND t.partition_id = $1
WHERE g.expires_at <= $2 AND g.expired_commit_id IS NULL ORDER BY g.expires_at LIMIT 1000

-- name: due_holds
SELECT h.tenant_id, h.hold_id FROM holds h JOIN tenants t ON t.tenant_id = h.tenant_id AND t.partition_id = $1
WHERE h.expires_at <= $2 AND h.status = 'open' ORDER BY h.expires_at, h.hold_id LIMIT 1000

-- name: period_counters
-- The tenants of a partition that have lines which are settled at a period's end, with the counters of their units and, place by place, of
-- what their events were charged.
SELECT u.tenant_id, period_settings(u.tenant_id), array_agg(u.counter_id ORDER BY u.counter_id) AS units,
    array_agg(c.counter_id ORDER BY u.counter_id) AS charges
FROM usage_counters u
JOIN tenants t ON t.tenant_id = u.tenant_id AND t.partition_id = $1
JOIN usage_counters c ON c.tenant_id = u.tenant_id AND c.product_id = u.product_id AND c.metric_id = u.metric_id AND c.match = u.match
    AND c.measure = 'period_charge'
WHERE u.measure = 'period_quantity' GROUP BY u.tenant_id

-- name: counted_accounts
-- The next accounts after $2 that have counted anything: from one to the next down the index, a descent each.
WITH RECURSIVE walk AS (
    (SELECT account_id FROM usage_counter_quantities WHERE tenant_id = $1 AND account_id > $2 ORDER BY account_id LIMIT 1)
    UNION ALL
    SELECT following.account_id
    FROM walk CROSS JOIN LATERAL (
        SELECT account_id FROM usage_counter_quantities q WHERE q.tenant_id = $1 AND q.account_id > walk.account_id ORDER BY account_id LIMIT 1
    ) AS following
)
SELECT account_id FROM walk LIMIT $3

-- name: unsettled
-- Of these accounts ($2) the periods between $5 and $6 in which one of the counters $3 is not what it was when they were settled. $4: for each of
-- these the counter of the line's units, by which its periods are known.
WITH used AS (
    SELECT wanted.account_id, line.units, c.period_start, coalesce(max(c.quantity) FILTER (WHERE c.counter_id = line.units), 0) AS quantity,
        coalesce(max(c.quantity) FILTER (WHERE c.counter_id <> line.units), 0) AS charged
    FROM unnest($2::bigint[]) AS wanted (account_id)
    CROSS JOIN LATERAL counters_of($1, wanted.account_id, $5, $6) AS c
    JOIN unnest($3::integer[], $4::integer[]) AS line (counter_id, units) USING (counter_id)
    GROUP BY 1, 2, 3
)
SELECT used.account_id, used.units, (extract(epoch FROM used.period_start) * 1000000)::bigint AS period_start_us
FROM used
LEFT JOIN LATERAL (
    SELECT p.quantity, p.charged FROM period_charges p
    WHERE p.tenant_id = $1 AND p.account_id = used.account_id AND p.period_start = used.period_start AND p.counter_id = used.units
    ORDER BY p.revision DESC LIMIT 1
) AS settled ON true
WHERE (used.quantity, used.charged) <> (coalesce(settled.quantity, 0), coalesce(settled.charged, 0))

-- name: settled
-- Of these periods the newest revision.
SELECT wanted.tenant_id, wanted.account_id, wanted.period_start_us, wanted.counter_id, p.revision, p.quantity::text AS quantity,
    p.charged::text AS charged, p.total::text AS total, p.parts
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[]) AS wanted (tenant_id, account_id, period_start_us, counter_id)
CROSS JOIN LATERAL (
    SELECT revision, quantity, charged, total, parts FROM period_charges p
    WHERE p.tenant_id = wanted.tenant_id AND p.account_id = wanted.account_id
        AND p.period_start = '1970-01-01+00'::timestamptz + make_interval(secs => wanted.period_start_us / 1000000)
        AND p.counter_id = wanted.counter_id
    ORDER BY p.revision DESC LIMIT 1
) AS p
