"""The channels' stand-in: WeChat Pay v3 and Alipay over HTTP, with real keys, signatures, callbacks and bills, and without money.

Sandbox tenants pay here. It is written from the channels' facts alone and shares no code with the clients in `collection`, not even
that which signs, so that a fact misread on one side shows when the two meet. It imports nothing of BuffMoney but `base`.

`app` puts it together: `wechat` and `alipay` are the channels' own faces; `orders` and `refunds` are the truth behind both, `announcing` and
`courier` tell merchants of it; `phone` and `pages` are what a payer sees; `control` and `faults` make it misbehave on demand.

Owns: its data directory with one SQLite database, and nothing of BuffMoney's. Does not own: any rule of BuffMoney about payments.

Invariants: an answer is sent after its effect is committed; money is whole fen; an order is paid at most once, never refunded above what
was paid, and an order number means one order of a collector for good; a callback is repeated by the channel's own schedule until it
is taken or the schedule ends. Where the facts are silent it does what the channel is known to do, and says so in a comment.

Idempotency key: (channel, collector, order number), and within an order the refund number.

What a crash leaves. Everything acknowledged, and callbacks that go on from where they were: one that was under way is sent again,
as the channels do. SQLite's log is not synced at each commit, so this holds for a killed process, not for a machine without power.
A bill's address dies with its time, as at the channel.
"""
