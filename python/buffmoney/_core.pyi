"""The Rust core: what is done per event. Amounts and quantities cross this border as decimal strings or packed bytes."""

from typing import Self, final

__all__ = [
    "BatchError",
    "CopyStream",
    "DecodedBatch",
    "Engine",
    "Group",
    "Needs",
    "Simulation",
    "Verifier",
    "command_message",
    "decode_batch",
    "key_hash",
    "pack_resp",
    "render_balance",
    "repeated_name",
    "split_reply",
    "usage_events",
]

class BatchError(ValueError):
    """A whole request body is refused. args = (status, code, detail, param or None)."""

@final
class DecodedBatch:
    """A decoded and validated body of POST /v1/usage-events (or the `events`/`estimate` of a hold or capture)."""

    count: int
    """events in the body"""
    rejected: int
    """events that failed validation"""
    pending: int
    """valid events not known as duplicates: what the core has yet to decide"""
    all_invalid: bool
    """no event passed validation (and there was at least one)"""
    problems: bytes
    """JSON array of the results of the events that failed validation"""

    def seen_command(self, generations: list[bytes]) -> tuple[bytes, int]:
        """RESP bytes and how many answers they get: for each generation of seen batches one SISMEMBER, whose 1 means: known.
        A generation is 16 sets, `generation:0` to `generation:f`, by the first four bits of the batch's mark."""
    def mark_seen(self) -> None:
        """All valid events are known as committed, so nothing is pending."""
    def message(self, message_id: bytes, reply_to: bytes, redelivered: bool) -> bytes:
        """The inbox message for the pending events. message_id: 16 bytes."""
    def section(self) -> bytes:
        """Only the usage section, to embed in a command."""
    def answer(self, reply: bytes | None, all_results: bool, request_id: str, charges: dict[bytes, str] | None = None) -> bytes:
        """The JSON answer. reply: the core's reply body (None when nothing was pending). charges: key hash -> charge of duplicates."""

def decode_batch(body: bytes, tenant_id: int, now_us: int, max_events: int = 500) -> DecodedBatch:
    """Raises BatchError: 400 malformed_json, 413 too_many_events, 422 invalid_batch."""

def repeated_name(body: bytes) -> str | None:
    """Where an object of these JSON bytes names a field twice: its path, such as `charges[3].price`. None: nowhere. Raises ValueError for
    what is not JSON, or is nested deeper than 64."""

def key_hash(tenant_id: int, idempotency_key: str) -> bytes:
    """16 bytes: the identity of an event (or, with a prefix, of a command)."""

def command_message(tenant_id: int, message_id: bytes, reply_to: bytes, redelivered: bool, command: bytes, section: bytes) -> bytes:
    """A wallet command for the inbox: JSON bytes plus an optional usage section."""

def split_reply(reply: bytes) -> tuple[bytes, int, bytes]:
    """(message_id, kind 1 usage | 2 command, body)."""

def usage_events(message: bytes) -> list[tuple[bytes, int, str]]:
    """(key hash, index in the client's batch, idempotencyKey) of each event of a usage message. Raises ValueError."""

def render_balance(packed: bytes) -> bytes:
    """A wallet as the core keeps it in Redis, as the JSON body of the balance answer."""

def pack_resp(arguments: list[bytes]) -> bytes:
    """One Redis command as RESP bytes."""

@final
class CopyStream:
    """The COPY BINARY bytes of one table of a group: a read-only buffer (`memoryview`), not a copy."""

    def __len__(self) -> int: ...

@final
class Group:
    """A group of messages applied to memory and not yet known to be committed."""

    group_id: int
    empty: bool
    """nothing to write (only duplicates, rejections, or repeated commands)"""
    commit_id: int
    commit_seq: int
    key_table: int
    """the table that takes its event keys"""
    copies: list[tuple[str, list[str], CopyStream]]
    """(table, columns, COPY BINARY bytes), in the order in which they must be written; events go to table "usage_events" """
    closed_holds: list[tuple[int, bytes, str, str]]
    """(tenant_id, hold id 16 bytes, status, captured amount)"""
    expired_grants: list[tuple[int, bytes]]
    configured: list[tuple[int, int, str | None, str | None]]
    """(tenant_id, account_id, overdraft_limit or None, low_balance_threshold or None) to UPDATE in customers"""
    head: bytes
    head_mac: bytes
    events_accepted: int
    postings: int
    charged: str
    outcomes: dict[str, int]
    """count of events by outcome or rejection code, for metrics"""
    command_ids: list[tuple[int, bytes]]
    """(tenant_id, command id) of the group's new commands: what to look up after a unique violation."""
    void_keys: list[tuple[int, list[bytes]]]
    """(tenant_id, key hashes) of the events voided in the group: likewise."""
    late_periods: list[tuple[int, int, int, int]]
    """(tenant_id, account_id, period_start_us, counter of its units): periods that are over whose counters the group moved"""
    refused_commands: list[tuple[int, bytes]]
    """(tenant_id, command id) of commands refused by the state of the wallet or catalogue. If wallet_commands has one of them, it was
    applied long ago: roll back, remember_commands, apply again. Events need none of this: of each one it is known before."""
    replies: list[tuple[bytes, bytes, bytes]]
    """(reply_to, message_id, reply bytes)"""

    def publish(self, balance_key: bytes, seen_generation: bytes, ttl_ms: int) -> tuple[bytes, int]:
        """After the commit, as RESP bytes and how many answers they get: balances, then replies, which expire after ttl_ms if nothing
        touches them again, then the marks of the batches of which every event is stored."""

@final
class Needs:
    """What must be loaded before messages can be applied."""

    catalogs: list[int]
    wallets: list[tuple[int, str]]
    """(tenant_id, externalId)"""
    accounts: list[tuple[int, int]]
    """(tenant_id, account_id): wallets of holds and due grants"""
    holds: list[tuple[int, bytes]]
    """(tenant_id, hold id)"""
    keys: list[tuple[int, bytes]]
    """(tenant_id, key hash): events that may be stored already"""
    events: list[tuple[int, bytes, str]]
    """(tenant_id, key hash, idempotencyKey) of stored events that are to be voided"""
    settled: list[tuple[int, int, int, int]]
    """(tenant_id, account_id, period_start_us, counter of its units): periods that may be settled already"""
    account_ids: int
    """how many new account ids should be reserved"""
    nothing: bool

@final
class Engine:
    """One partition in memory. Deterministic: the same calls give the same bytes.

    Not thread-safe; the GIL is released in `needs` and `apply`.
    """

    def __new__(cls, partition_id: int, ledger_key: bytes, max_wallets: int = 1_000_000, recent_keys: int = 100_000) -> Self: ...
    def start(self, commit_seq: int, head: bytes, epoch: int) -> None:
        """After taking the lease: forgets everything and continues after this commit."""
    def load_catalog(self, tenant_id: int, catalog: bytes) -> None:
        """JSON: see pricing/catalog.py."""
    def drop_catalog(self, tenant_id: int) -> None: ...
    def add_account_ids(self, ids: list[int]) -> None: ...
    def load_wallets(
        self,
        rows: list[tuple[int, int, str, str, str | None, str | None, int, str, str, str, bytes, bytes | None]],
        grants: list[tuple[int, bytes, str, int, str, int | None, int]],
        absent: list[tuple[int, str]],
        counters: list[tuple[int, int, int, str]] = ...,
    ) -> None:
        """rows: (tenant_id, account_id, external_id, currency, overdraft_limit, low_balance_threshold, seq, balance, held,
        unbilled, chain hash, grants_after).
        grants: (tenant_id, grant_id, kind, priority, amount, expires_at_us, created_at_us). absent: asked for and not there.
        counters: (account_id, counter_id, period_start_us, quantity), all that rows have of periods that began 128 days ago or later."""
    def load_holds(
        self,
        rows: list[tuple[int, bytes, int, str, bytes, int, str]],
        grants: list[tuple[int, bytes, str, int, str, int | None, int]],
        absent: list[tuple[int, bytes]],
    ) -> None:
        """rows: (tenant_id, hold_id, account_id, amount, parts, expires_at_us, status)."""
    def reserve_key_filters(self, bytes: int) -> None:
        """Takes the memory of filters, before any is there. The span that grows always has one."""
    def add_key_span(self, tables: list[int], stored: bytes | None) -> bool:
        """Closed tables of event keys, which have their indexes, and the stored filter of them all; None: every key may be there. Newer
        ones first: False says that there is no memory for filters of older ones. ValueError: not a stored filter."""
    def begin_key_span(self, capacity: int) -> None:
        """The span that the open table belongs to, and how many keys it is made for."""
    def add_closed_key_table(self, number: int) -> None:
        """A closed table of that span, which has its index. Its keys follow."""
    def feed_closed_key_table(self, chunk: bytes) -> int:
        """What that table has: key_hash and fingerprint, as COPY BINARY sends them, in chunks of any size. Gives how many keys were read.
        ValueError: it is something else."""
    def open_key_table(self, number: int, capacity: int) -> None:
        """The table that takes new keys, and how many it is made for."""
    def feed_key_table(self, chunk: bytes) -> int:
        """What the open table has already, likewise."""
    def turn_key_table(self, number: int, capacity: int, span: int) -> tuple[int, int, bytes | None] | None:
        """Closes the open table and opens another, empty one. Gives the closed one's number and keys, and the filter of its span, if that
        ends with it; span: keys that the next one is made for. None: none was open. No group may be open, and the table closed before
        must have its index."""
    key_table: int
    """the number of the open table"""
    key_table_fill: tuple[int, int]
    """keys in the open table, and how many it is made for"""
    key_tables_in_memory: list[int]
    """the open table and the one closed last: what they have is known key by key, and they may have no index"""
    def key_tables_with(self, keys: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
        """Where these keys (tenant_id, hash) may be stored: (table, place in the list)."""
    def load_events(
        self,
        rows: list[
            tuple[
                bytes,
                tuple[int, int, int, int, int, int, str, str, str, bytes],
                tuple[int, str, str, str | None, str | None, int | None, str | None] | None,
            ]
        ],
        grants: list[tuple[int, bytes, str, int, str, int | None, int]],
        absent: list[bytes],
    ) -> None:
        """rows: (key hash, (account_id, commit_id, posting_seq, metric_id, price_id, occurred_at_us, quantity, charge, dimensions, parts:
        32 bytes for each grant that paid and how much), void: (voided_at_us, balance_after, unbilled_after, reason, replaced_by, its
        fingerprint, the amendment's answer) or None). Kept until the next `apply`."""
    def load_settled(
        self,
        rows: list[tuple[tuple[int, int, int, int], int, str, str, str, bytes]],
        grants: list[tuple[int, bytes, str, int, str, int | None, int]],
        absent: list[tuple[int, int, int, int]],
    ) -> None:
        """rows: (period as in Needs.settled, revision, quantity, charged, total, parts), the newest revision. absent: not settled."""
    def remember_keys(self, rows: list[tuple[bytes, int]]) -> None:
        """(key hash, fingerprint) found in event_keys. Those of late are kept."""
    def remember_absent_keys(self, keys: list[bytes]) -> None:
        """Key hashes not found there, until the next `apply`."""
    def remember_commands(self, rows: list[tuple[int, bytes, int, str]]) -> None:
        """(tenant_id, command_id, fingerprint, result)."""
    def needs(self, messages: list[bytes]) -> Needs: ...
    def sweep_needs(
        self, wallets: list[tuple[int, int]], holds: list[tuple[int, bytes]], periods: list[tuple[int, int, int, int]] = ...
    ) -> Needs:
        """What must be loaded before `sweep` of these wallets, holds and periods: only what is not in memory."""
    def apply(self, messages: list[bytes], now_us: int) -> Group:
        """Applies to memory; everything `needs` named must have been loaded."""
    def sweep(
        self,
        wallets: list[tuple[int, int]],
        holds: list[tuple[int, bytes]],
        now_us: int,
        periods: list[tuple[int, int, int, int]] = ...,
    ) -> Group:
        """Expires due grants of these wallets and these holds, and settles these periods: an hour after their ends, and again when their
        counters have moved."""
    def commit(self, group_id: int) -> None:
        """The oldest open group is durable."""
    def rollback(self) -> None:
        """Undoes every open group, newest first."""
    def balance(self, tenant_id: int, external_id: str) -> bytes | None:
        """Packed wallet, as in Redis."""
    wallets: int
    open_groups: int
    memory_bytes: int

@final
class Verifier:
    """`ledger verify`: fed with COPY BINARY rows in key order, collects differences."""

    def __new__(cls, ledger_key: bytes) -> Self: ...
    def postings(self, chunk: bytes) -> int:
        """COPY (SELECT tenant_id, account_id, seq, kind, debit_account_id, credit_account_id, amount, balance_after, held_after, grant_id,
        reference, commit_id, posted_at, grants_after, chain_hash, unbilled_after FROM postings ORDER BY tenant_id, account_id, seq).
        Any chunking; returns rows so far."""
    def voids(self, chunk: bytes) -> int:
        """COPY (SELECT the columns of usage_voids FROM usage_voids ORDER BY tenant_id, key_hash), after postings and prices; rows so
        far."""
    def periods(self, rows: list[tuple[int, list[int]]]) -> None:
        """(tenant_id, starts of its periods in microseconds, rising), before its prices."""
    def prices(
        self,
        rows: list[
            tuple[
                int,
                int,
                str,
                str,
                str,
                str | None,
                str | None,
                str,
                tuple[int | None, str | None, str | None, str | None],
                tuple[str | None, int | None, int | None],
            ]
        ],
    ) -> None:
        """(tenant_id, price_id, model, price, per, percent, minimum, currency, (counter_id, allowance, tiers as JSON, blocks), (minimum per
        period, counters of a period's units and charges)). A line that cannot be charged by is a difference."""
    def at(self, now_us: int) -> None:
        """The moment of the verification: periods that were over long before it are settled."""
    def period_charges(self, chunk: bytes) -> int:
        """COPY (SELECT the columns of period_charges FROM period_charges in the order of its key), after postings, prices and voids, and
        before the counters; rows so far."""
    def metrics(self, rows: list[tuple[int, int, str]]) -> None: ...
    def customers(self, rows: list[tuple[int, int, str, str]]) -> None:
        """(tenant_id, account_id, external_id, currency)."""
    def events(self, chunk: bytes) -> int:
        """COPY (SELECT tenant_id, account_id, commit_id, posting_seq, occurred_at, metric_id, price_id, quantity, charge, idempotency_key,
        dimensions, counter_before FROM usage_events). Any order, any chunking."""
    def counters(self, chunk: bytes) -> int:
        """COPY (SELECT tenant_id, account_id, period_start, counter_id, commit_id, quantity FROM usage_counter_quantities ORDER BY 1, 2, 3,
        4, 5). After the events."""
    def event_keys(self, chunk: bytes) -> int:
        """COPY (SELECT tenant_id, key_hash, fingerprint, commit_id FROM event_keys ORDER BY tenant_id, key_hash)."""
    def commits(self, chunk: bytes) -> int:
        """COPY (SELECT partition_id, commit_seq, commit_id, epoch, committed_at, events, postings, charged, digest, head,
        messages FROM commits ORDER BY 1, 2)."""
    def heads(self, rows: list[tuple[int, int, bytes, bytes]], current: bool = True) -> None:
        """(partition_id, commit_seq, head, head_mac) from `partitions`, and, with current=False, from the head file."""
    def finish(self) -> bytes:
        """JSON {"postings", "events", "voids", "wallets", "commits", "counters", "charged": {currency: sum},
        "differences": [{"what", "tenantId", "accountId", "seq", "detail"}]} (first 100)."""

@final
class Simulation:
    """A rate card over past usage. Writes nothing; the GIL is released in `events` and `finish`."""

    def __new__(
        cls,
        catalog_before: bytes,
        catalog_after: bytes,
        first_day: int,
        day_starts_us: list[int],
        settled: tuple[int, int] = ...,
        looked_at: tuple[int, int] = ...,
    ) -> Self:
        """catalog_before: the tenant's (pricing/catalog.py), whose cards say what each product prices; catalog_after: the same with
        the card under test alone, in force since ever.
        day_starts_us: when each day of the merchant's time zone starts, first_day (days since 1970-01-01) and those after it; the last
        one only ends the day before it. settled: the moments between which periods lie whose charges at their ends count. looked_at:
        the moments between which events occurred that are summed up; all others move the card's counters alone. Half-open.
        Raises ValueError for what is not a catalogue."""
    def events(self, chunk: bytes) -> int:
        """COPY (SELECT account_id, metric_id, occurred_at, quantity, charge, dimensions FROM usage_events). Any chunking; any order, unless
        the card counts: then commit by commit and as the events were written. Returns rows so far. Raises ValueError for other rows, for
        a time outside of the days, and for sums that do not fit."""
    def period_charges(self, rows: list[tuple[int, int, int, str]]) -> None:
        """(account_id, metric_id, last moment of the period in microseconds, total): what periods were charged at their ends."""
    def finish(self, most: int | None = None) -> bytes:
        """JSON {SUMS, "outOfRangeEvents", "otherProductsEvents", "otherProductsBefore", "byMetric": [{"metric", SUMS}],
        "byDay": [{"day", SUMS}], "byCustomer": [{"accountId", SUMS}], "customers", "data": [{"accountId", "metric", "day", SUMS}],
        "groups"}, where SUMS are "events", "before", "after", "difference", "unpricedEvents", "unpricedBefore". byCustomer and data
        come with the largest change first; most: how many of each are given of the "customers" and "groups" there are."""
