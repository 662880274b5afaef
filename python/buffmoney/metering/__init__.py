"""Metering: usage events from the API to the ledger, exactly once.

The edge decodes a batch, asks Redis whether it knows it as a whole, and puts it into the partition's inbox if not (`accept`, `inbox`). The
core (`core`, `hand`) takes messages in groups, looks up what the filters of older keys do not rule out (`loading`, `key_tables`), rates and
deducts in the Rust engine, and commits each group in one transaction (`commit`); only then does it answer (`publish`). The worker rolls
usage up.

Usage is corrected by new rows alone (`voids`, `void_sets`, in the engine `void.rs`): a void is a command like those of wallets, with the
stored event and the grants that paid it loaded (`stored`), and an event is voided once, by the primary key of usage_voids.

What a billing period costs beyond its events is charged when it is over (`period_ends` finds such periods, in the engine
`period_charge.rs` settles them, `period_charges` shows them).

Owns: event_keys, key_tables, usage_events, usage_counter_quantities, usage_voids, period_charges, usage_rollups, rollup_progress,
partitions, commits.
Through the engine's groups the core also writes the rows of wallets (customers, grants, holds, postings), because one transaction must
hold them all. Does not own: prices, which it reads from `pricing`, and what the wallets mean, which is in `wallets`.

Invariants: one writer for each partition, fenced by an epoch; nothing answered before its commit; a batch counts as seen only
after its commit; a counter is what the accepted events of a customer, a line and a period add up to, less those voided; messages in hand
are applied again after every failure. Idempotency key: (tenant, idempotencyKey) of each event, for its void as well, the command id of each
wallet command, and (customer, period, counter, revision) of each period charge.

What a crash leaves. Edge: a message whose reply nobody takes; the sender's retry finds its events stored. Core: a transaction
that is committed or not; its lease runs out, or is taken at once where its process is known to be dead, and the edges deliver again
what was not answered; a closed table of keys may lack its index, and the newest ones their filter: the next core makes
them. Redis: nothing; sets, balances and inbox start empty. Worker: roll-ups as of the last whole chunk. A void by filter: some of its
events voided; the same call again does the rest.
"""
