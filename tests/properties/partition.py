"""A partition in memory: the engine, fed and drained the way the core process does it, over tables that are Python dicts.

The tables enforce the same primary keys as the schema. What the engine asks for is loaded from them; a key that is already
there makes the group fail like a unique violation does, and it is rolled back, told what exists, and applied again.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from buffmoney import _core
from buffmoney.base.periods import Periods
from buffmoney.metering.shares import shared, shares
from tests.oracle import Assignment, Card, Counter, counter_of, nano, show
from tests.properties.copies import SIGNATURE, rows

SPAN = 3
"""tables of event keys that share a filter"""
LEDGER_KEY = bytes(range(32))
REPLY_TO = b"reply:test"
METRIC_IDS = {"tokens_input": 1, "tokens_output": 2, "images": 3, "agent_runs": 4, "storage_gb": 5}
PRIMARY_KEYS: dict[str, tuple[str, ...]] = {
    "customers": ("tenant_id", "account_id"),
    "commits": ("partition_id", "commit_seq"),
    "postings": ("tenant_id", "account_id", "seq"),
    "grants": ("tenant_id", "grant_id"),
    "holds": ("tenant_id", "hold_id"),
    "wallet_commands": ("tenant_id", "command_id"),
    "low_balance_alerts": ("tenant_id", "account_id", "seq"),
    # Unique in each of its tables only, as in PostgreSQL.
    "event_keys": ("key_table", "tenant_id", "key_hash"),
    "usage_counter_quantities": ("tenant_id", "account_id", "period_start", "commit_id"),
    "usage_voids": ("tenant_id", "key_hash"),
    "period_charges": ("tenant_id", "account_id", "period_start", "counter_id", "revision"),
}
Row = dict[str, Any]
Key = tuple[Any, ...]


def counter_ids(cards: list[Card]) -> dict[Counter, int]:
    """The numbers of counters as publishing one card after the other gives them."""
    found: dict[Counter, int] = {}
    for card in cards:
        for charge in card.charges:
            if charge.counts:
                found.setdefault(counter_of(card, charge), 500 + len(found))
    return found


def catalog_json(
    tenant_id: int,
    version: int,
    cards: list[Card],
    unknown_customers: str,
    default_limit: int | None,
    periods: Periods | None = None,
    *,
    currency: str = "CNY",
    accrues: bool = False,
    assignments: Sequence[tuple[int, Assignment]] = (),
) -> bytes:
    """The catalogue as the engine reads it. Price ids count up over all cards' lines. assignments: with the customers' accounts. periods:
    Shanghai's months without it."""
    wire_cards, price_id = [], 0
    counters = counter_ids(cards)
    periods = periods or Periods()
    for card in cards:
        charges = []
        for charge in card.charges:
            price_id += 1
            line = {"priceId": price_id, "metricId": METRIC_IDS[charge.metric], "match": dict(charge.match), "price": charge.price}
            optional: dict[str, Any] = {"model": charge.model, "percent": charge.percent, "minimum": charge.minimum}
            optional |= {"allowance": charge.allowance, "counterId": counters.get(counter_of(card, charge)) if charge.counts else None}
            tiers = [{"upTo": up_to, "price": price, "per": per} for up_to, price, per in charge.tiers]
            optional["tiers"] = tiers or None
            optional["blocks"] = "period" if charge.buys_blocks else None
            optional["currency"] = charge.currency
            # As from a catalogue that was written before lines had models: what is not said is absent.
            said = {name: value for name, value in optional.items() if value not in (None, "per_unit")}
            charges.append({**line, "per": charge.per, **said})
        about = {"rateCardId": _card_id(card.product, card.name), "currency": card.currency, "audience": card.audience}
        wire = {"effectiveFromUs": card.effective_us, "charges": charges, **about, "productId": card.product}
        if card.product == "default" and not assignments:
            # As it was written before there were products.
            del wire["productId"]
        wire_cards.append(wire)
    wire_assignments = [
        {
            "accountId": account_id,
            "productId": one.product,
            "rateCardId": None if one.card is None else _card_id(one.product, one.card),
            "effectiveFromUs": one.effective_us,
        }
        for account_id, one in assignments
    ]
    return json.dumps(
        {
            "tenantId": tenant_id,
            "version": version,
            "currency": currency,
            "unknownCustomers": unknown_customers,
            "defaultOverdraftLimit": None if default_limit is None else show(default_limit),
            # As it was written before wallets accrued.
            **({"accrues": True} if accrues else {}),
            "metrics": [{"id": number, "code": code} for code, number in METRIC_IDS.items()],
            "rateCards": wire_cards,
            **({"assignments": wire_assignments} if wire_assignments else {}),
            **({"periods": periods.wire(periods.starts_us)} if counters else {}),
        }
    ).encode()


def _card_id(product: str, name: str) -> str:
    return f"{product} {name}"


class UniqueViolationError(Exception):
    """A primary key exists already."""


@dataclass
class Tables:
    """What PostgreSQL would hold."""

    keyed: dict[str, dict[Key, Row]] = field(default_factory=lambda: {name: {} for name in PRIMARY_KEYS})
    usage_events: list[Row] = field(default_factory=list)

    def write(self, copies: list[tuple[str, list[str], _core.CopyStream]]) -> None:
        """All rows of a group, or none and UniqueViolationError."""
        fresh: list[tuple[str, Key, Row]] = []
        events: list[Row] = []
        for table, columns, stream in copies:
            for row in rows(table, columns, stream):
                if table == "usage_events":
                    events.append(row)
                    continue
                if table == "postings":
                    # The column's default, where the core leaves it out.
                    row.setdefault("unbilled_after", 0)
                key = tuple(row[column] for column in PRIMARY_KEYS[table])
                if key in self.keyed[table]:
                    raise UniqueViolationError(f"{table} {key}")
                fresh.append((table, key, row))
        for table, key, row in fresh:
            assert key not in self.keyed[table], f"{table} {key} twice in one group"
            self.keyed[table][key] = row
        self.usage_events.extend(events)

    def of(self, table: str, tenant_id: int | None = None) -> list[Row]:
        """A table's rows in key order."""
        found = sorted(self.keyed[table].items())
        return [row for _, row in found if tenant_id is None or row["tenant_id"] == tenant_id]


class Partition:
    """The engine with its tables. max_wallets, recent_keys and keys_per_table may be tiny, so that everything is loaded again and again."""

    def __init__(
        self, *, max_wallets: int = 1_000_000, recent_keys: int = 1_000_000, keys_per_table: int = 1_000_000, partition_id: int = 0
    ) -> None:
        self.engine = _core.Engine(partition_id, LEDGER_KEY, max_wallets, recent_keys)
        self.engine.start(0, bytes(32), 1)
        self.engine.begin_key_span(SPAN * keys_per_table)
        self.engine.open_key_table(1, keys_per_table)
        self.keys_per_table = keys_per_table
        self.filters: list[tuple[list[int], bytes]] = []
        """closed tables of event keys with the filter of their span"""
        self.newest: list[int] = []
        """closed tables of the newest span"""
        self.tables = Tables()
        self.catalogs: dict[int, bytes] = {}
        self.period_counters: dict[int, int] = {}
        """those of lines that are settled at a period's end → the one of the line's units"""
        self.next_account = 1000
        self.head = (bytes(32), b"")
        self.violations = 0
        """how often an event's key was found by its table alone"""

    # -- loading, as metering/loading.py does with SQL

    def set_catalog(self, tenant_id: int, catalog: bytes) -> None:
        """A new version of a tenant's catalogue."""
        self.catalogs[tenant_id] = catalog
        self.engine.load_catalog(tenant_id, catalog)

    def _customer(self, tenant_id: int, *, external_id: str | None = None, account_id: int | None = None) -> Row | None:
        for row in self.tables.keyed["customers"].values():
            if row["tenant_id"] == tenant_id and (row["external_id"] == external_id or row["account_id"] == account_id):
                return row
        return None

    def _grant_rows(self, tenant_id: int, packed: bytes | None) -> list[tuple[int, bytes, str, int, str, int | None, int]]:
        """The grants named by `grants_after` or by a hold's parts: 32 bytes each, id first."""
        found = []
        for place in range(0, len(packed or b""), 32):
            grant_id = (packed or b"")[place : place + 16]
            row = self.tables.keyed["grants"].get((tenant_id, grant_id))
            if row is not None:
                amount = show(row["amount"])
                found.append((tenant_id, grant_id, row["kind"], row["priority"], amount, row["expires_at"], row["created_at"]))
        return found

    def load(self, needs: _core.Needs) -> None:
        """Gives the engine everything it asked for."""
        engine = self.engine
        for tenant_id in needs.catalogs:
            engine.load_catalog(tenant_id, self.catalogs[tenant_id])
        if needs.account_ids:
            engine.add_account_ids([self.next_account + 2 * number for number in range(needs.account_ids)])
            self.next_account += 2 * needs.account_ids
        asked = [((tenant_id, name), self._customer(tenant_id, external_id=name)) for tenant_id, name in needs.wallets]
        asked += [((tenant_id, ""), self._customer(tenant_id, account_id=number)) for tenant_id, number in needs.accounts]
        wallet_rows, wallet_grants, counters = [], [], []
        for (tenant_id, _), row in asked:
            if row is None:
                continue
            account_id = row["account_id"]
            history = [posting for posting in self.tables.of("postings", tenant_id) if posting["account_id"] == account_id]
            last = history[-1] if history else None
            limit, threshold = row["overdraft_limit"], row["low_balance_threshold"]
            wallet_rows.append(
                (
                    tenant_id,
                    account_id,
                    row["external_id"],
                    row["currency"],
                    None if limit is None else show(limit),
                    None if threshold is None else show(threshold),
                    last["seq"] if last else 0,
                    show(last["balance_after"]) if last else "0",
                    show(last["held_after"]) if last else "0",
                    show(last["unbilled_after"]) if last else "0",
                    last["chain_hash"] if last else bytes(32),
                    last["grants_after"] if last else None,
                )
            )
            wallet_grants += self._grant_rows(tenant_id, last["grants_after"] if last else None)
            counters += [(account_id, *key, show(quantity)) for key, quantity in self.counters(account_id).items()]
        absent = [name for name, row in asked if row is None]
        if wallet_rows or absent:
            engine.load_wallets(wallet_rows, wallet_grants, absent, counters)
        if needs.holds:
            hold_rows, hold_grants, missing = [], [], []
            for tenant_id, hold_id in needs.holds:
                hold = self.tables.keyed["holds"].get((tenant_id, hold_id))
                if hold is None:
                    missing.append((tenant_id, hold_id))
                    continue
                amount = show(hold["amount"])
                status = hold.get("status", "open")
                hold_rows.append((tenant_id, hold_id, hold["account_id"], amount, hold["parts"], hold["expires_at"], status))
                hold_grants += self._grant_rows(tenant_id, hold["parts"])
            engine.load_holds(hold_rows, hold_grants, missing)
        if needs.keys:
            keys = [(tenant_id, bytes(key)) for tenant_id, key in needs.keys]
            found = self.stored_keys(keys)
            engine.remember_keys(found)
            engine.remember_absent_keys(sorted({key for _, key in keys} - {key for key, _ in found}))
        if needs.settled:
            settled = [(period, self.settled(period)) for period in needs.settled]
            self.engine.load_settled(
                [
                    (period, row["revision"], show(row["quantity"]), show(row["charged"]), show(row["total"]), row["parts"])
                    for period, row in settled
                    if row is not None
                ],
                [grant for period, row in settled if row is not None for grant in self._grant_rows(period[0], row["parts"])],
                [period for period, row in settled if row is None],
            )
        for tenant_id, hashed, key in needs.events:
            self._load_event(tenant_id, bytes(hashed), key)

    def _load_event(self, tenant_id: int, hashed: bytes, key: str) -> None:
        """As metering/stored.py does with SQL."""
        found = [row for key, row in self.tables.keyed["event_keys"].items() if key[1:] == (tenant_id, hashed)]
        if not found:
            self.engine.load_events([], [], [hashed])
            return
        commit_id = found[0]["commit_id"]
        in_commit = [row for row in self.tables.usage_events if (row["tenant_id"], row["commit_id"]) == (tenant_id, commit_id)]
        event = next(row for row in in_commit if row["idempotency_key"] == key)
        mine = [row for row in in_commit if row["account_id"] == event["account_id"] and row["charge"]]
        parts = b""
        if event["charge"]:
            postings = [
                row
                for row in self.tables.of("postings", tenant_id)
                if (row["account_id"], row["commit_id"], row["kind"]) == (event["account_id"], commit_id, 2)
            ]
            begun = [[row["charge"] for row in mine if row["posting_seq"] == posting["seq"]] for posting in postings]
            flow = shared((posting["seq"], posting["amount"], len(some), sum(some)) for posting, some in zip(postings, begun, strict=True))
            out = next(one.carried_out for one in flow if one.seq == event["posting_seq"])
            able = [row for row in mine if row["posting_seq"] == event["posting_seq"] and row["charge"] > out > 0]
            carried = shares(flow, event["posting_seq"], event["charge"], goes_on=bool(able) and able[-1] is event)
            payer = {posting["seq"]: payer_of(posting) for posting in postings}
            parts = b"".join(payer[one.seq] + share.to_bytes(16, "little") for one, share in carried)
        void = self.tables.keyed["usage_voids"].get((tenant_id, hashed))
        told = None
        if void is not None:
            amended = void["replaced_by"] is not None
            result = self.tables.keyed["wallet_commands"][tenant_id, void["command_id"]]["result"] if amended else None
            after = (show(void["balance_after"]), show(void["unbilled_after"]))
            told = (void["voided_at"], *after, void["reason"], void["replaced_by"], void["replaced_fingerprint"], result)
        facts = (
            *(event["account_id"], commit_id, event["posting_seq"], event["metric_id"], event["price_id"], event["occurred_at"]),
            *(show(event["quantity"]), show(event["charge"]), event["dimensions"], parts),
        )
        self.engine.load_events([(hashed, facts, told)], self._grant_rows(tenant_id, parts), [])

    def stored_keys(self, keys: list[tuple[int, bytes]]) -> list[tuple[bytes, int]]:
        """(key hash, fingerprint) of those that are stored, looked up only where the engine says that they may be."""
        stored = self.tables.keyed["event_keys"]
        places = [(table, *keys[place]) for table, place in self.engine.key_tables_with(keys)]
        return [(place[2], stored[place]["fingerprint"]) for place in places if place in stored]

    def restart(self, *, with_filters: bool = True) -> None:
        """Another core takes over: memory is lost, and so are the filters if the database has none of them yet."""
        commits = self.tables.of("commits")
        self.engine.start(commits[-1]["commit_seq"] if commits else 0, self.head[0], 2)
        self.engine.reserve_key_filters(1 << 18)
        for tables, stored in self.filters:
            self.engine.add_key_span(tables, stored if with_filters else None)
        self.engine.begin_key_span(SPAN * self.keys_per_table)
        for number in self.newest:
            self.engine.add_closed_key_table(number)
            held = self.keys_of(number)
            assert self.engine.feed_closed_key_table(copy_of_keys(held)) == len(held)
        number = 1 + len(self.newest) + sum(len(tables) for tables, _ in self.filters)
        self.engine.open_key_table(number, self.keys_per_table)
        held = self.keys_of(number)
        assert self.engine.feed_key_table(copy_of_keys(held)) == len(held)

    def keys_of(self, number: int) -> list[tuple[bytes, int]]:
        """(key hash, fingerprint) of a table of event keys."""
        return [(key[2], row["fingerprint"]) for key, row in self.tables.keyed["event_keys"].items() if key[0] == number]

    def counters(self, account_id: int) -> dict[tuple[int, int], int]:
        """Where an account's counters stand in the tables: nano-units by (counter id, period start). As the core reads them: of each
        period from the last row on that has all of its counters."""
        found: dict[int, dict[int, int]] = {}
        for row in self.tables.of("usage_counter_quantities"):
            if row["account_id"] == account_id:
                if row["whole"]:
                    found[row["period_start"]] = {}
                found.setdefault(row["period_start"], {}).update(zip(row["counter_ids"], row["quantities"], strict=True))
        return {(counter, period): quantity for period, used in found.items() for counter, quantity in used.items()}

    def settled(self, period: tuple[int, int, int, int]) -> Row | None:
        """The newest revision of a period: (tenant, account, start, counter of its units)."""
        found = [row for key, row in sorted(self.tables.keyed["period_charges"].items()) if key[:4] == period]
        return found[-1] if found else None

    def unsettled(self) -> list[tuple[int, int, int, int]]:
        """The periods that are not as they were settled, as the core's walk finds them."""
        stand: dict[tuple[int, int, int, int], dict[str, int]] = {}
        for tenant_id, account_id in sorted({(row["tenant_id"], row["account_id"]) for row in self.tables.of("usage_counter_quantities")}):
            for (counter, start), used in self.counters(account_id).items():
                if (units := self.period_counters.get(counter)) is not None:
                    what = "quantity" if counter == units else "charged"
                    stand.setdefault((tenant_id, account_id, start, units), {"quantity": 0, "charged": 0})[what] = used
        settled = {period: self.settled(period) or {"quantity": 0, "charged": 0} for period in stand}
        return [period for period, used in stand.items() if any(settled[period][what] != used[what] for what in used)]

    # -- groups

    def apply(self, messages: list[bytes], now_us: int) -> _core.Group:
        """Loads what is needed and applies to memory."""
        for _ in range(10):
            needs = self.engine.needs(messages)
            if needs.nothing:
                return self.engine.apply(messages, now_us)
            self.load(needs)
        raise AssertionError("the engine asks for more after ten rounds of loading")

    def commit(self, group: _core.Group) -> None:
        """Writes a group, as one transaction, and tells the engine."""
        self.tables.write(group.copies)
        for tenant_id, hold_id, status, captured in group.closed_holds:
            self.tables.keyed["holds"][tenant_id, bytes(hold_id)].update(status=status, captured=captured)
        for tenant_id, grant_id in group.expired_grants:
            grant = self.tables.keyed["grants"][tenant_id, bytes(grant_id)]
            grant["expired_commit_id"] = group.commit_id
        for tenant_id, account_id, limit, threshold in group.configured:
            customer = self.tables.keyed["customers"][tenant_id, account_id]
            customer["overdraft_limit"] = None if limit is None else nano(limit)
            customer["low_balance_threshold"] = None if threshold is None else nano(threshold)
        if not group.empty:
            self.head = (group.head, group.head_mac)
        self.engine.commit(group.group_id)
        keys, capacity = self.engine.key_table_fill
        if keys >= capacity:
            turned = self.engine.turn_key_table(self.engine.key_table + 1, self.keys_per_table, SPAN * self.keys_per_table)
            assert turned is not None
            self.newest.append(turned[0])
            if turned[2] is not None:
                self.filters.append((self.newest, turned[2]))
                self.newest = []

    def run(self, messages: list[bytes], now_us: int) -> list[bytes]:
        """Applies and commits one group; after a unique violation once more, knowing what exists. Gives the replies in order."""
        for _ in range(3):
            group = self.apply(messages, now_us)
            # A command that was refused may have been applied long ago: then it gets its first answer.
            if self._remember(group.refused_commands):
                continue
            try:
                self.commit(group)
            except UniqueViolationError as violation:
                self.violations += violation.args[0].startswith("usage_voids")
                assert not violation.args[0].startswith("event_keys"), "an event was taken twice"
                known = self._remember(group.command_ids)
                # A void that is stored already is read with its event when the messages are applied again.
                void = any(
                    (tenant_id, bytes(key)) in self.tables.keyed["usage_voids"] for tenant_id, keys in group.void_keys for key in keys
                )
                assert known or void, "a unique violation that nothing stored explains"
                self.engine.rollback()
                continue
            replies = {message_id: reply for _, message_id, reply in group.replies}
            return [replies[message[12:28]] for message in messages]
        raise AssertionError("still a unique violation after remembering what exists")

    def _remember(self, commands: list[tuple[int, bytes]]) -> bool:
        """Tells the engine which of these exist. If any does, every open group is undone and True is given."""
        table = self.tables.keyed
        first = [
            (tenant_id, bytes(name), row["fingerprint"], row["result"])
            for tenant_id, name in commands
            if (row := table["wallet_commands"].get((tenant_id, bytes(name)))) is not None
        ]
        if first:
            self.engine.rollback()
            self.engine.remember_commands(first)
        return bool(first)

    def sweep(self, now_us: int) -> None:
        """Expires what is due, as the core does every second."""
        due_wallets = sorted(
            {
                (row["tenant_id"], row["account_id"])
                for row in self.tables.of("grants")
                if row["expires_at"] is not None and row["expires_at"] <= now_us and row.get("expired_commit_id") is None
            }
        )
        due_holds = [
            (row["tenant_id"], row["hold_id"])
            for row in sorted(self.tables.of("holds"), key=lambda row: (row["expires_at"], row["hold_id"]))
            if row["expires_at"] <= now_us and row.get("status", "open") == "open"
        ]
        due_periods = self.unsettled()
        for _ in range(10):
            needs = self.engine.sweep_needs(due_wallets, due_holds, due_periods)
            if needs.nothing:
                break
            self.load(needs)
        self.commit(self.engine.sweep(due_wallets, due_holds, now_us, due_periods))


def payer_of(posting: Row) -> bytes:
    """Who paid a posting, as parts have it: a grant, 16 zero bytes for the wallet without one, sixteen of 255 for what is unbilled."""
    if posting["debit_account_id"] == -posting["account_id"]:
        return b"\xff" * 16
    return posting["grant_id"] or bytes(16)


def copy_of_keys(keys: list[tuple[bytes, int]]) -> bytes:
    """COPY BINARY of key hashes and fingerprints."""
    fields = b"".join(struct.pack(">hi", 2, 16) + key + struct.pack(">iq", 8, fingerprint) for key, fingerprint in keys)
    return SIGNATURE + bytes(8) + fields + struct.pack(">h", -1)


def command_message(tenant_id: int, message_id: bytes, command: dict[str, Any], section: bytes = b"") -> bytes:
    """A wallet command for the inbox."""
    return _core.command_message(tenant_id, message_id, REPLY_TO, False, json.dumps(command).encode(), section)
