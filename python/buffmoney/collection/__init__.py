"""Money in: top-ups that end customers pay through WeChat Pay or Alipay, and that become credits.

Owns `channel_accounts`, `channel_credentials`, `top_up_settings`, `promotions`, `top_ups`, `payment_orders`, `refunds`, `payment_alerts`,
and the way to the channels. Does not own wallets (credits are commands that `wallets.outbox` hands to the core) or the books
(`ledger.cash` posts), and never believes a browser: a payment is what a signed callback or the channel's own answer says.

Words. A top-up is what a customer wants to buy. A payment order is one attempt to pay it, with an order number of its own at a channel:
created → pending → paid | closed | failed. The channel's truth wins, so closed → paid and failed → paid are the only steps back; triggers
refuse every other. What is done for a payment is decided in one place, `orders.settle`, whoever brings the news: callback, poll, or the
query before a close. It locks the top-up, then the order, and in that one transaction decides, enqueues the grants and posts to the
cash book.

The written rules:

- First payment of a top-up: credited, paid and bonus as two grants. Also when it comes after the order was closed here or the top-up has
  expired. If the top-up was cancelled: refunded.
- Second payment of one top-up (two orders, both paid): refunded under the refund number that belongs to the order, so however often it is
  settled there is one refund. An alert says so.
- Attempts: at most twenty payment orders are ever made for one top-up, whatever became of them, for the page that makes them is public.
  An open one can be gone on with and paid also then, and is not closed by an attempt that is refused.
- Wrong amount, currency, collector or app: posted to suspense, alert, no credit, acknowledged. The order is left to people.
- Unknown order: refused so that the channel sends again, for ten minutes from the payment's own time (our commit may be on its way);
  after that suspense, alert, acknowledged.
- Bonus: promised when the top-up is made, decided when it is paid: the terms are those promised, but "first purchase only" and uses per
  customer are counted over paid top-ups under a lock of the customer. A purchase that was refunded has been one.
- Refunds: at most what was paid, only paid credits that are unspent, and within the merchant's window, counted in days from the payment.
  The bonus is taken back in proportion to all that was refunded so far, rounded half up to fen; what of that is spent already is taken
  from the paid credits in its place, so that nobody gains by spending a bonus and taking the money back. A bonus that has expired is not
  asked for. Credits are taken before the channel is asked, and given back if it refuses.

Invariants of the channels' clients (`channels`): nothing that a channel sends is parsed before its signature is verified over the raw
bytes; the bytes that are signed are the bytes that are sent; a state that is not known means pending, never paid and never closed; an
answer that is lost, late, unsigned or 5xx means that the outcome is unknown, never that nothing happened; amounts are exact, whole fen on
the wire; no private key, API key or plaintext of sealed credentials is in a repr, a log line or an error.

Idempotency keys: a payment is (channel, collector, order number); a grant is `payment:<order>:paid` or `:bonus`, a refund its number, an
alert its kind and transaction. What a crash leaves: before the channel has answered, an order that is asked about until it expires; after
a payment, an unanswered callback that comes again, or a poll that finds it; after the commit, a row of the outbox that the worker delivers,
and a refund that the worker takes on from the state it is in.
"""
