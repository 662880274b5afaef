-- What `ledger verify` reads of the cash book, and what it compares it with.

-- name: estimate
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'cash_postings'::regclass

-- name: postings
SELECT tenant_id, seq, kind, debit_account_id, credit_account_id, amount, order_id, refund_id, channel,
    (extract(epoch FROM occurred_at) * 1000000)::bigint AS occurred_us, (extract(epoch FROM posted_at) * 1000000)::bigint AS posted_us, chain_hash
FROM cash_postings ORDER BY tenant_id, seq

-- name: heads
-- Of every tenant; without a seq where there is none.
SELECT t.tenant_id, h.seq, h.chain_hash, h.mac FROM tenants t LEFT JOIN cash_heads h USING (tenant_id) ORDER BY 1

-- name: balances
-- By mode and account: sandbox money is none.
SELECT t.mode, a.code, sum(CASE WHEN (a.class IN ('asset', 'expense')) = (side = 'debit') THEN amount ELSE -amount END) AS balance
FROM cash_postings p JOIN tenants t USING (tenant_id)
CROSS JOIN LATERAL (VALUES ('debit', debit_account_id), ('credit', credit_account_id)) AS sides (side, account_id)
JOIN system_accounts a USING (account_id)
GROUP BY t.mode, a.account_id, a.code ORDER BY t.mode, a.account_id

-- name: order_differences
-- Each order by itself, by the rules of ledger/cash.py: what was given back of a fee is fee × refunded ÷ paid, half a fen up, which div()
-- of whole numbers has exactly. That a merchant owes no more on an order than the channel kept of it follows from these.
WITH sums AS (
    SELECT tenant_id, order_id, min(channel) AS channel, count(DISTINCT channel) AS channels, min(seq) AS first_seq,
        min(seq) FILTER (WHERE kind = 'payment') AS payment_seq,
        min(seq) FILTER (WHERE kind NOT IN ('payment', 'suspense', 'suspense_release')) AS next_seq,
        count(*) FILTER (WHERE kind = 'payment') AS payments,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'payment'), 0)) AS paid,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'channel_fee'), 0)) AS channel_fee,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'platform_fee'), 0)) AS platform_fee,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)) AS refunded,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'channel_fee_return'), 0)) AS channel_fee_returned,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'platform_fee_return'), 0)) AS platform_fee_returned,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'suspense'), 0)) AS suspended,
        trim_scale(coalesce(sum(amount) FILTER (WHERE kind = 'suspense_release'), 0)) AS released
    FROM cash_postings
    -- Money of unknown orders counts by channel.
    GROUP BY tenant_id, order_id, CASE WHEN order_id IS NULL THEN channel END
),
due AS (
    SELECT *,
        CASE WHEN channel = 'wechat' AND paid > 0 THEN div(200 * channel_fee * refunded + paid, 2 * paid) / 100 ELSE 0 END AS channel_fee_due,
        CASE WHEN paid > 0 THEN div(200 * platform_fee * refunded + paid, 2 * paid) / 100 ELSE 0 END AS platform_fee_due
    FROM sums
),
judged AS (
    SELECT tenant_id, coalesce(order_id, 'unknown orders of ' || channel) AS order_id, first_seq, CASE
        WHEN channels > 1 THEN 'its postings name two channels'
        WHEN payments > 1 THEN format('it was paid %s times', payments)
        WHEN payments = 0 AND next_seq IS NOT NULL THEN 'it has fees or refunds, and no payment'
        WHEN next_seq < payment_seq THEN 'it has fees or refunds from before its payment'
        WHEN channel_fee + platform_fee > paid THEN format('fees of %s and %s were taken of %s', channel_fee, platform_fee, paid)
        WHEN refunded > paid THEN format('%s was refunded of %s', refunded, paid)
        WHEN channel_fee_returned <> channel_fee_due
            THEN format('%s of the channel''s fee was given back, to be given back was %s', channel_fee_returned, trim_scale(channel_fee_due))
        WHEN platform_fee_returned <> platform_fee_due
            THEN format('%s of our fee was given back, to be given back was %s', platform_fee_returned, trim_scale(platform_fee_due))
        WHEN released > suspended THEN format('%s left suspense, and %s went in', released, suspended)
    END AS detail
    FROM due
)
SELECT tenant_id, order_id, first_seq, detail FROM judged WHERE detail IS NOT NULL ORDER BY tenant_id, first_seq LIMIT 100

-- name: payment_order_differences
-- Needs payment_orders (tenant_id, order_id, channel, amount, status). An order is paid exactly if it has its gross posting.
SELECT coalesce(o.tenant_id, p.tenant_id) AS tenant_id, coalesce(p.seq, 0) AS seq, coalesce(o.order_id, p.order_id) AS order_id, CASE
    WHEN o.order_id IS NULL THEN 'it has a payment in the cash book, and there is no such order'
    WHEN p.order_id IS NULL THEN 'it is paid, and has no payment in the cash book'
    WHEN o.status <> 'paid' THEN format('it is %s, and has a payment in the cash book', o.status)
    ELSE format('it is of %s through %s, its payment in the cash book of %s through %s', trim_scale(o.amount), o.channel, trim_scale(p.amount),
        p.channel)
END AS detail
FROM payment_orders o
FULL JOIN (SELECT * FROM cash_postings WHERE kind = 'payment') AS p ON p.tenant_id = o.tenant_id AND p.order_id = o.order_id
WHERE (o.status = 'paid' AND p.order_id IS NULL)
    OR (p.order_id IS NOT NULL AND (o.status, o.amount, o.channel) IS DISTINCT FROM ('paid', p.amount, p.channel))
ORDER BY 1, 2, 3 LIMIT 100

-- name: refund_differences
-- Needs refunds (tenant_id, refund_id, order_id, amount, status). A refund succeeded exactly if its gross was posted, from the payment or
-- from suspense.
SELECT coalesce(r.tenant_id, p.tenant_id) AS tenant_id, coalesce(p.seq, 0) AS seq, coalesce(r.refund_id, p.refund_id) AS refund_id, CASE
    WHEN r.refund_id IS NULL THEN 'it is in the cash book, and there is no such refund'
    WHEN p.refund_id IS NULL THEN 'it succeeded, and is not in the cash book'
    WHEN r.status <> 'succeeded' THEN format('it is %s, and in the cash book', r.status)
    ELSE format('it is of %s for order %s, in the cash book of %s for order %s', trim_scale(r.amount), r.order_id, trim_scale(p.amount), p.order_id)
END AS detail
FROM refunds r
FULL JOIN (SELECT * FROM cash_postings WHERE kind = 'refund' OR (kind = 'suspense_release' AND refund_id IS NOT NULL)) AS p
    ON p.tenant_id = r.tenant_id AND p.refund_id = r.refund_id
WHERE (r.status = 'succeeded' AND p.refund_id IS NULL)
    OR (p.refund_id IS NOT NULL AND (r.status, r.amount, r.order_id) IS DISTINCT FROM ('succeeded', p.amount, p.order_id))
ORDER BY 1, 2, 3 LIMIT 100

-- name: grant_differences
-- Needs payment_orders, refunds, and wallet_outbox (tenant_id, command_id, source, applied_at, refused). The wallets' book joined with the
-- cash book: the paid grant of a payment is the command with the source `payment:<order_id>:paid`, and a grant has the id of its command.
-- A payment that was not credited, such as the second one of a top-up, has refunds of all of it, whatever has become of them.
WITH credited AS (
    SELECT w.tenant_id, substring(w.source FROM '^payment:(.+):paid$') AS order_id, w.applied_at, w.refused, g.amount
    FROM wallet_outbox w LEFT JOIN grants g ON g.tenant_id = w.tenant_id AND g.grant_id = w.command_id
    WHERE w.source LIKE 'payment:%:paid'
),
paid AS (
    SELECT p.tenant_id, p.order_id, p.seq, p.amount, coalesce(sum(r.amount), 0) >= p.amount AS given_up
    FROM cash_postings p LEFT JOIN refunds r USING (tenant_id, order_id)
    WHERE p.kind = 'payment' GROUP BY p.tenant_id, p.order_id, p.seq, p.amount
)
SELECT coalesce(c.tenant_id, p.tenant_id) AS tenant_id, coalesce(p.seq, 0) AS seq, coalesce(c.order_id, p.order_id) AS order_id, CASE
    WHEN p.order_id IS NULL THEN 'it is credited, and not paid'
    WHEN c.order_id IS NULL THEN 'it is paid, and neither credited nor refunded'
    WHEN c.refused IS NOT NULL THEN format('it is paid, its credit was refused (%s), and it is not refunded', c.refused)
    WHEN c.amount IS NULL THEN 'its credit is said to be applied, and there is no such grant'
    ELSE format('it is paid with %s, and credited with %s', trim_scale(p.amount), trim_scale(c.amount))
END AS detail
FROM credited c FULL JOIN paid p ON p.tenant_id = c.tenant_id AND p.order_id = c.order_id
WHERE p.order_id IS NULL
    OR ((c.order_id IS NULL OR c.refused IS NOT NULL) AND NOT p.given_up)
    OR (c.applied_at IS NOT NULL AND c.refused IS NULL AND c.amount IS NULL)
    OR c.amount <> p.amount
ORDER BY 1, 2, 3 LIMIT 100

-- name: bonus_differences
-- Needs top_ups (tenant_id, paid_order_id, bonus_granted) and wallet_outbox, as above. What a paid top-up gave as a bonus is the grant of the
-- command `payment:<order_id>:bonus`.
WITH given AS (
    SELECT w.tenant_id, substring(w.source FROM '^payment:(.+):bonus$') AS order_id, w.applied_at, w.refused, g.amount
    FROM wallet_outbox w LEFT JOIN grants g ON g.tenant_id = w.tenant_id AND g.grant_id = w.command_id
    WHERE w.source LIKE 'payment:%:bonus'
)
SELECT coalesce(u.tenant_id, g.tenant_id) AS tenant_id, 0 AS seq, coalesce(u.paid_order_id, g.order_id) AS order_id, CASE
    WHEN u.paid_order_id IS NULL THEN 'it has a bonus, and no top-up that gives one'
    WHEN g.order_id IS NULL THEN format('its top-up gives a bonus of %s, which was never asked for', trim_scale(u.bonus_granted))
    ELSE format('its top-up gives a bonus of %s, the wallet has one of %s', trim_scale(u.bonus_granted), coalesce(trim_scale(g.amount)::text, 'nothing'))
END AS detail
FROM (SELECT tenant_id, paid_order_id, bonus_granted FROM top_ups WHERE bonus_granted > 0) u
FULL JOIN given g ON g.tenant_id = u.tenant_id AND g.order_id = u.paid_order_id
WHERE u.paid_order_id IS NULL OR g.order_id IS NULL
    OR (g.applied_at IS NOT NULL AND g.refused IS NULL AND g.amount IS DISTINCT FROM u.bonus_granted)
ORDER BY 1, 2, 3 LIMIT 100

-- name: taken_differences
-- Needs refunds (tenant_id, refund_id, top_up_id, cause, command_id, paid_taken, bonus_taken, status), top_ups (tenant_id, top_up_id, paid_grant_id,
-- bonus_grant_id), postings and wallet_outbox. A merchant's refund takes credits by the command `refund:<refund_id>:take`, from both grants what
-- it says, before the channel is asked; one that the channel closed gives them back as grants, `refund:<refund_id>:paid_back` and `:bonus_back`.
WITH takes AS (
    SELECT tenant_id, command_id, substring(source FROM '^refund:(.+):take$') AS refund_id, applied_at IS NOT NULL AND refused IS NULL AS applied
    FROM wallet_outbox WHERE source LIKE 'refund:%:take'
),
taken AS (SELECT tenant_id, reference AS command_id, grant_id, sum(amount) AS amount FROM postings WHERE kind = 11 GROUP BY 1, 2, 3),
returned AS (
    SELECT w.tenant_id, split_part(w.source, ':', 2) AS refund_id, split_part(w.source, ':', 3) AS which, w.applied_at, w.refused, g.amount
    FROM wallet_outbox w LEFT JOIN grants g ON g.tenant_id = w.tenant_id AND g.grant_id = w.command_id
    WHERE w.source LIKE 'refund:%\_back'
),
judged AS (
    SELECT coalesce(r.tenant_id, t.tenant_id) AS tenant_id, coalesce(r.refund_id, t.refund_id) AS refund_id, CASE
        WHEN r.refund_id IS NULL THEN 'it takes credits, and there is no such refund'
        WHEN t.refund_id IS NULL OR r.command_id IS DISTINCT FROM t.command_id THEN 'it takes no credits, or by another command'
        WHEN r.status NOT IN ('requested', 'refused') AND NOT t.applied THEN format('it is %s, and its credits were not taken', r.status)
        WHEN t.applied AND (r.paid_taken, r.bonus_taken) IS DISTINCT FROM (coalesce(paid.amount, 0), coalesce(bonus.amount, 0)) THEN
            format('it takes %s of paid credit and %s of the bonus, taken were %s and %s', trim_scale(r.paid_taken), trim_scale(r.bonus_taken),
                trim_scale(coalesce(paid.amount, 0)), trim_scale(coalesce(bonus.amount, 0)))
        WHEN r.status = 'closed' AND EXISTS (
            SELECT FROM (VALUES ('paid_back', r.paid_taken), ('bonus_back', r.bonus_taken)) AS due (which, amount)
            LEFT JOIN returned b ON b.tenant_id = r.tenant_id AND b.refund_id = r.refund_id AND b.which = due.which
            WHERE due.amount > 0
                AND (b.which IS NULL OR (b.applied_at IS NOT NULL AND b.refused IS NULL AND b.amount IS DISTINCT FROM due.amount))
        ) THEN 'it is closed, and what it took was not given back as it was'
        WHEN r.status <> 'closed' AND EXISTS (SELECT FROM returned b WHERE b.tenant_id = r.tenant_id AND b.refund_id = r.refund_id) THEN
            format('it is %s, and gave back what it took', r.status)
    END AS detail
    FROM (SELECT * FROM refunds WHERE cause = 'merchant') r
    FULL JOIN takes t ON t.tenant_id = r.tenant_id AND t.refund_id = r.refund_id
    LEFT JOIN top_ups u ON u.tenant_id = r.tenant_id AND u.top_up_id = r.top_up_id
    LEFT JOIN taken paid ON paid.tenant_id = t.tenant_id AND paid.command_id = t.command_id AND paid.grant_id = u.paid_grant_id
    LEFT JOIN taken bonus ON bonus.tenant_id = t.tenant_id AND bonus.command_id = t.command_id AND bonus.grant_id = u.bonus_grant_id
)
SELECT tenant_id, 0 AS seq, refund_id, detail FROM judged WHERE detail IS NOT NULL ORDER BY 1, 3 LIMIT 100
