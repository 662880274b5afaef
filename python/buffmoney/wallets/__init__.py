"""Customers and their prepaid money: grants, holds, balances, history.

Owns what wallets mean to a client, and reads `customers`, `grants`, `holds` and `postings`. Does not write any of them: every movement
is a command to the core, which alone changes a wallet and posts to the ledger. Owns `wallet_outbox`: commands that follow from somebody
else's transaction, written in it and delivered after it.

Invariants: a balance shown is one that was committed, and includes everything answered before it was asked for; a page of history is a
stretch of the wallet's sequence without gaps; a hold's money is let go only by its time, a release, or a capture that is paid for: events
that cannot be paid leave it open. Idempotency key: the command's id, made from tenant, route and Idempotency-Key; it is also
the id of the grant or hold. A crash before the core's commit leaves nothing, one after it leaves the movement, and the same command
again gets its first answer.
"""
