"""The ledger: the chart of accounts, postings and what proves them.

Owns: postings, system_accounts, posting_kinds, cash_postings, cash_heads. Postings are written by the engine's groups alone, those of the
cash book by `cash.post` alone, and none ever changes: no role of a process may UPDATE, DELETE or TRUNCATE them.

Invariants: every posting moves one amount from one account to another; each wallet's postings are numbered without gaps and chained by
blake3; each commit's digest covers its postings, each partition's head covers its commits, and the head is signed and also
kept outside the database. A crash leaves whole commits only.

The cash book: a tenant's postings are numbered without gaps and chained, and its head is signed. They are written in the transaction of
what they tell of, so a crash leaves both or neither. Idempotency: an order is paid once, a refund of it happens once; the database refuses
the second.
"""
