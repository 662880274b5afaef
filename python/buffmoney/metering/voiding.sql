-- Statements about events that are to be voided, or are.

-- What the core reads about many events: one table each, by its key, so that no join can go wrong over tables that grow this fast.

-- name: commits_of_keys
-- In which commit each key was accepted.
SELECT key_hash, commit_id FROM event_keys WHERE tenant_id = $1 AND key_hash = ANY ($2::uuid[]);

-- name: times_of_commits
SELECT commit_id, committed_at FROM commits WHERE commit_id = ANY ($1::bigint[]);

-- name: voids_of_keys
SELECT key_hash, (extract(epoch FROM voided_at) * 1000000)::bigint AS voided_us, balance_after, unbilled_after, reason, replaced_by, replaced_fingerprint, command_id
FROM usage_voids WHERE tenant_id = $1 AND key_hash = ANY ($2::uuid[]);

-- name: answers
-- What was said to commands: an amendment that is repeated gets its first answer.
SELECT command_id, result FROM wallet_commands WHERE tenant_id = $1 AND command_id = ANY ($2::uuid[]);

-- name: events
-- Events by key ($4) in any of these commits ($2, $3): one scan of their blocks, however many they are.
SELECT idempotency_key, ctid::text AS place, account_id, commit_id, accepted_at, posting_seq, metric_id, price_id,
    (extract(epoch FROM occurred_at) * 1000000)::bigint AS occurred_us, quantity, charge, dimensions
FROM usage_events
WHERE tenant_id = $1 AND commit_id = ANY ($2::bigint[]) AND accepted_at = ANY ($3::timestamptz[]) AND idempotency_key = ANY ($4::text[]);

-- name: shared_postings
-- All usage postings of these wallets ($4) in these commits ($2, $3), each with the number and the sum of the events that begin in it.
WITH begun AS (
    SELECT account_id, commit_id, posting_seq, count(*) AS events, sum(charge) AS charge FROM usage_events
    WHERE tenant_id = $1 AND commit_id = ANY ($2::bigint[]) AND accepted_at = ANY ($3::timestamptz[]) AND account_id = ANY ($4::bigint[])
        AND posting_seq > 0
    GROUP BY 1, 2, 3
),
span AS (SELECT account_id, commit_id, min(posting_seq) AS first, max(posting_seq) AS last FROM begun GROUP BY 1, 2)
SELECT p.account_id, p.commit_id, p.seq, p.amount, p.grant_id, p.debit_account_id = -p.account_id AS accrued,
    coalesce(b.events, 0) AS began, coalesce(b.charge, 0) AS charged
-- The last event may go on with a posting for each of the other open grants, one for overdraft and one for what is unbilled.
FROM span JOIN postings p ON p.tenant_id = $1 AND p.account_id = span.account_id AND p.seq BETWEEN span.first AND span.last + 101
LEFT JOIN begun b ON b.account_id = p.account_id AND b.commit_id = p.commit_id AND b.posting_seq = p.seq
WHERE p.commit_id = span.commit_id AND p.kind = 2
ORDER BY p.account_id, p.commit_id, p.seq;

-- name: last_of_posting
-- Of the events that begin in each posting ($4, $2, $3, $5) and are charged more than goes on with the next one ($6), the last.
SELECT e.account_id, e.commit_id, e.posting_seq, max(e.ctid)::text AS place
FROM unnest($2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::numeric[]) AS w (commit_id, accepted_at, account_id, seq, goes_on)
JOIN usage_events e ON e.tenant_id = $1 AND e.commit_id = w.commit_id AND e.accepted_at = w.accepted_at AND e.account_id = w.account_id
    AND e.posting_seq = w.seq AND e.charge > w.goes_on
GROUP BY 1, 2, 3;

-- name: existing_voids
SELECT count(*) FROM usage_voids WHERE tenant_id = $1 AND key_hash = ANY ($2::uuid[]);

-- name: amendment
-- What an event ($2, its key's hash; $3, its key) has to do with amendments: its own void, and the event that it amends.
SELECT v.voided_at, v.command_id, v.set_id, v.voided_by, v.reason, v.charge, v.parts, v.posting_seq, v.balance_after, v.unbilled_after,
    v.replaced_by, v.commit_id,
    (SELECT a.idempotency_key FROM usage_voids a WHERE a.tenant_id = $1 AND a.replaced_by = $3) AS amends
FROM (SELECT) AS one LEFT JOIN usage_voids v ON v.tenant_id = $1 AND v.key_hash = $2;

-- name: match_voids_by_hash
-- Statistics say nothing of voids that came by the thousand a moment ago: one hash table of them is right whatever they say, and looking
-- through them all for each event never is.
SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off;

-- name: listed
-- The events of a set: those that a filter finds and that are not voided, but for those that were voided with the very set ($8).
-- $2, $3: occurred from, to; $4, $5: arrival times between which such events can lie; $6: account; $7: metric; each NULL for all.
-- $9: dimensions (jsonb) or NULL. $10: most rows.
SELECT e.idempotency_key, e.commit_id, e.account_id, e.metric_id, e.quantity, e.charge, v.key_hash IS NOT NULL AS voided
FROM usage_events e
LEFT JOIN usage_voids v ON v.tenant_id = $1 AND v.event_commit_id = e.commit_id AND v.idempotency_key = e.idempotency_key
WHERE e.tenant_id = $1
    AND ($2::timestamptz IS NULL OR e.occurred_at >= $2) AND ($3::timestamptz IS NULL OR e.occurred_at < $3)
    AND ($4::timestamptz IS NULL OR e.accepted_at >= $4) AND ($5::timestamptz IS NULL OR e.accepted_at < $5)
    AND ($6::bigint IS NULL OR e.account_id = $6) AND ($7::integer IS NULL OR e.metric_id = $7)
    AND (v.key_hash IS NULL OR v.set_id = $8::uuid)
    AND ($9::jsonb IS NULL OR e.dimensions::jsonb @> $9::jsonb)
LIMIT $10::bigint;

-- name: customers
SELECT account_id, external_id, currency FROM customers WHERE tenant_id = $1 AND account_id = ANY ($2::bigint[]);

-- name: metric_codes
SELECT metric_id, code FROM metrics WHERE tenant_id = $1;
