-- The simulator's state. Times are microseconds of its own clock since 1970 (UTC), money is whole fen.

CREATE TABLE IF NOT EXISTS settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL                     -- JSON
) STRICT;

-- What the channels sign with. A key with retires_at_us is on its way out and both it and its successor are in use until then.
CREATE TABLE IF NOT EXISTS platform_keys (
    key_id TEXT PRIMARY KEY,
    channel TEXT NOT NULL CHECK (channel IN ('wechat', 'alipay')),
    kind TEXT NOT NULL CHECK (kind IN ('public_key', 'certificate')),
    private_pem TEXT NOT NULL,
    certificate_pem TEXT,
    created_at_us INTEGER NOT NULL,
    retires_at_us INTEGER
) STRICT;

-- Whoever collects: a WeChat merchant or service provider (mchid), an Alipay seller.
CREATE TABLE IF NOT EXISTS merchants (
    channel TEXT NOT NULL CHECK (channel IN ('wechat', 'alipay')),
    collector_id TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('direct', 'service_provider')),
    app_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    serial TEXT,
    public_pem TEXT NOT NULL,
    api_v3_key TEXT,
    refundable_fen INTEGER,                 -- what is left for refunds; NULL for enough
    PRIMARY KEY (channel, collector_id)
) STRICT;

CREATE TABLE IF NOT EXISTS sub_merchants (
    sub_mchid TEXT PRIMARY KEY,
    collector_id TEXT NOT NULL,
    sub_app_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS orders (
    order_id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL CHECK (channel IN ('wechat', 'alipay')),
    collector_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    sub_mchid TEXT,
    sub_app_id TEXT,
    order_no TEXT NOT NULL,
    product TEXT NOT NULL CHECK (product IN ('native', 'jsapi', 'h5', 'page', 'wap', 'precreate')),
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0),
    description TEXT NOT NULL,
    attach TEXT,
    notify_url TEXT,
    return_url TEXT,
    openid TEXT,
    fingerprint TEXT NOT NULL,              -- of what a repetition must have in common with the first request
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,         -- no payment from here on
    exists_at_us INTEGER,                   -- Alipay: since when the trade exists; NULL before the buyer's first step
    state TEXT NOT NULL CHECK (state IN ('waiting', 'paid', 'closed', 'finished')),
    transaction_id TEXT NOT NULL UNIQUE,    -- not shown before the order is paid (WeChat) or exists (Alipay)
    payer TEXT,
    fee_fen INTEGER NOT NULL DEFAULT 0,
    paid_at_us INTEGER,
    closed_at_us INTEGER,
    refunded_fen INTEGER NOT NULL DEFAULT 0,
    altered TEXT NOT NULL DEFAULT '{}',     -- JSON: what callbacks (and queries) are to say in place of the truth
    refund_refusal TEXT,                    -- the error code that every new refund is to get
    UNIQUE (channel, collector_id, order_no),
    CHECK (refunded_fen BETWEEN 0 AND amount_fen),
    CHECK ((paid_at_us IS NOT NULL) = (state IN ('paid', 'finished')))
) STRICT;
CREATE INDEX IF NOT EXISTS orders_by_number ON orders (order_no);
CREATE INDEX IF NOT EXISTS orders_paid ON orders (channel, collector_id, paid_at_us);
CREATE INDEX IF NOT EXISTS orders_waiting ON orders (expires_at_us) WHERE channel = 'alipay' AND state = 'waiting' AND exists_at_us IS NOT NULL;
CREATE INDEX IF NOT EXISTS orders_to_finish ON orders (paid_at_us) WHERE channel = 'alipay' AND state = 'paid';

-- What a payer scans or opens.
CREATE TABLE IF NOT EXISTS codes (
    token TEXT PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders,
    expires_at_us INTEGER NOT NULL,
    replaced INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS codes_of_order ON codes (order_id);

CREATE TABLE IF NOT EXISTS refunds (
    refund_row INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders,
    channel TEXT NOT NULL,
    collector_id TEXT NOT NULL,
    refund_no TEXT NOT NULL,
    refund_id TEXT NOT NULL UNIQUE,
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0),
    fee_fen INTEGER NOT NULL,               -- the part of the fee that comes back with it
    status TEXT NOT NULL CHECK (status IN ('PROCESSING', 'SUCCESS', 'CLOSED', 'ABNORMAL')),
    outcome TEXT NOT NULL CHECK (outcome IN ('SUCCESS', 'CLOSED', 'ABNORMAL', 'WAIT')),
    reason TEXT,
    notify_url TEXT,
    accepted_at_us INTEGER NOT NULL,
    due_at_us INTEGER,                      -- when it leaves PROCESSING; NULL when it has, or waits for somebody
    finished_at_us INTEGER,
    UNIQUE (order_id, refund_no)
) STRICT;
CREATE INDEX IF NOT EXISTS refunds_by_number ON refunds (channel, collector_id, refund_no);
CREATE INDEX IF NOT EXISTS refunds_accepted ON refunds (channel, collector_id, accepted_at_us);
CREATE INDEX IF NOT EXISTS refunds_due ON refunds (due_at_us) WHERE due_at_us IS NOT NULL;

CREATE TABLE IF NOT EXISTS notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    notice_id TEXT NOT NULL UNIQUE,         -- the channel's own; the same in every repetition
    channel TEXT NOT NULL,
    collector_id TEXT NOT NULL,
    order_id INTEGER NOT NULL REFERENCES orders,
    kind TEXT NOT NULL,
    url TEXT NOT NULL,
    content TEXT NOT NULL,                  -- JSON: what is encrypted and signed anew at each attempt
    mode TEXT NOT NULL,
    copies INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    next_at_us INTEGER,                     -- NULL once it is over
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up'))
) STRICT;
CREATE INDEX IF NOT EXISTS notices_due ON notices (next_at_us) WHERE next_at_us IS NOT NULL;
CREATE INDEX IF NOT EXISTS notices_of_order ON notices (order_id);

-- Every single request that was made to a merchant, with what it answered. status is NULL when there was no answer.
CREATE TABLE IF NOT EXISTS deliveries (
    delivery_id INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL REFERENCES notices,
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key_id TEXT NOT NULL,
    status INTEGER,
    answer TEXT NOT NULL,
    took_ms INTEGER NOT NULL,
    accepted INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_of_notice ON deliveries (seq);

CREATE TABLE IF NOT EXISTS bill_files (
    token TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    collector_id TEXT NOT NULL,
    name TEXT NOT NULL,
    content BLOB NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS faults (
    fault_id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    method TEXT,                            -- Alipay's method, for faults of its one path
    kind TEXT NOT NULL,                     -- a status, or timeout, reset, sign_error
    code TEXT,
    message TEXT,
    after INTEGER NOT NULL,                 -- whether the request takes effect before its answer is spoilt
    seconds REAL NOT NULL,
    times_left INTEGER NOT NULL
) STRICT;
