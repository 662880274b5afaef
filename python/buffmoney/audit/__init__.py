"""The audit log: who changed what, from what to what, in which request.

Owns `audit_log` and `audit_heads`. Does not own the wallet ledger, which keeps its own chains: what moves a balance is a posting.

Invariants: an entry is written in the transaction of the change that it tells of, so there is neither one without the other; entries of
a tenant are numbered without gaps and chained by blake3; the newest one is signed with a key that is not in the database; no entry holds
an API key or its hash; no role of a process may UPDATE or DELETE one. Idempotency: an answer that is given again changes nothing and
writes nothing. A crash leaves the change with its entry, or neither.
"""
