"""The ledger: the chart of accounts, postings and what proves them.

Owns: postings, system_accounts, posting_kinds. Postings are written by the engine's groups alone and never change: no role of a
process may UPDATE, DELETE or TRUNCATE them.

Invariants: every posting moves one amount from one account to another; each wallet's postings are numbered without gaps and chained by
blake3; each commit's digest covers its postings, each partition's head covers its commits, and the head is signed and also
kept outside the database. A crash leaves whole commits only.
"""
