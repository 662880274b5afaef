"""Runs a workload through the Rust engine and through the oracle at once, and compares them step by step."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from buffmoney import _core
from buffmoney.base.periods import Periods, Setting
from tests.oracle import UNBILLED, Hold, Outcome, RefusedError, Tenant, Usage, Wallet, nano, show
from tests.properties.partition import REPLY_TO, Partition, catalog_json, command_message, counter_ids
from tests.workload import (
    START_US,
    Amend,
    Assign,
    Batch,
    Capture,
    ChangeCard,
    ChangePeriods,
    Configure,
    GiveGrant,
    PassTime,
    PlaceHold,
    Refund,
    Release,
    Step,
    Void,
)

TENANT_ID = 7
Check = Callable[[bytes], None]


def changed(periods: Periods, wanted: Setting, now_us: int) -> Periods:
    """The settings after a change, as merchants/billing_period.py keeps them in the database."""
    last = periods.settings[-1]
    if (wanted.zone, wanted.anchor_day) == (last.zone, last.anchor_day):
        return periods
    effective_us = periods.changes_at(now_us)
    kept = (setting for setting in periods.settings if setting.since_us != effective_us)
    return Periods((*kept, replace(wanted, since_us=effective_us)))


def as_outcome(result: dict[str, Any]) -> Outcome:
    """A result of the JSON answer in the oracle's words."""
    code = result.get("code") if result["outcome"] == "rejected" else result["outcome"]
    return Outcome(str(code), nano(result.get("charge") or "0"))


class ModelRun:
    """One tenant on one engine, next to the oracle's idea of it.

    Messages are collected and applied as groups of up to `group_size`; the oracle is asked in the same order.
    """

    def __init__(
        self,
        *,
        billing: str = "prepaid",
        unknown_customers: str = "create",
        group_size: int = 4,
        periods: Periods | None = None,
        **engine: int,
    ) -> None:
        self.periods = periods or Periods()
        self.partition = Partition(**engine)
        self.model = Tenant(billing=billing, unknown_customers=unknown_customers)
        self.model.settings = [(one.since_us or 0, one.zone, one.anchor_day) for one in self.periods.settings]
        self.group_size = group_size
        self.now_us = START_US
        self.version = 0
        self.numbers = 0
        self.waiting: list[tuple[bytes, Check]] = []
        self.commands: dict[str, bytes] = {}
        """the JSON of every command, to repeat it byte for byte"""
        self.expiries: dict[str, int | None] = {}
        """when the grant of a command ends: a repetition names the same moment, not the same distance"""
        self.results: dict[str, dict[str, Any]] = {}
        """the first answer to every command that succeeded, or that was to be decided once"""
        self.after_void: dict[str, dict[str, str]] = {}
        """what was available and owed unbilled after the void of each event"""
        self.amended: dict[str, dict[str, Any]] = {}
        """what was first said of each event's amendment"""
        self.answers: list[Any] = []
        """everything that was answered, for comparisons between runs"""

    # -- steps

    def feed(self, steps: Iterable[Step]) -> None:
        """Takes steps, then flushes."""
        for step in steps:
            if isinstance(step, ChangeCard):
                self.flush()
                self.model.cards.append(step.card)
                self.publish()
            elif isinstance(step, ChangePeriods):
                self.flush()
                self.periods = changed(self.periods, Setting(step.zone, step.anchor_day), self.now_us)
                self.model.change_periods(step.zone, step.anchor_day, self.now_us)
                self.publish()
            elif isinstance(step, Assign):
                self.flush()
                if step.assignment.customer in self.model.wallets:
                    self.model.assignments.append(step.assignment)
                    self.publish()
            elif isinstance(step, PassTime):
                self.flush()
                self.now_us += step.microseconds
                if step.sweep:
                    self.partition.sweep(self.now_us)
                    self.model.sweep(self.now_us)
                    self.compare()
            else:
                if isinstance(step, (Void, Amend)):
                    # What is to be voided must have been answered: until then nobody knows that it is there.
                    self.flush()
                self.waiting.append(self.message(step))
                if len(self.waiting) >= self.group_size:
                    self.flush()
        self.flush()

    def publish(self) -> None:
        """Gives the engine the catalogue as the oracle knows it."""
        self.version += 1
        model = self.model
        accounts = {row["external_id"]: row["account_id"] for row in self.partition.tables.of("customers", TENANT_ID)}
        assignments = [(accounts[one.customer], one) for one in model.assignments]
        settings = (model.unknown_customers, model.default_limit, self.periods)
        accrues = model.billing == "pay-as-you-go"
        catalog = catalog_json(TENANT_ID, self.version, model.cards, *settings, accrues=accrues, assignments=assignments)
        self.partition.set_catalog(TENANT_ID, catalog)

    def flush(self) -> None:
        """Applies what was collected as one group, checks every answer in order, then every wallet."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        replies = self.partition.run([message for message, _ in waiting], self.now_us)
        for reply, (_, check) in zip(replies, waiting, strict=True):
            check(reply)
        self.compare()

    def message_id(self) -> bytes:
        """16 bytes, new each time."""
        self.numbers += 1
        return self.numbers.to_bytes(16, "big")

    def message(self, step: Step) -> tuple[bytes, Check]:
        """The inbox message of a step, and what to do with its reply."""
        if isinstance(step, Batch):
            return self.usage(step)
        if isinstance(step, GiveGrant):
            return self.command(step.command_id, self.grant_command(step), lambda: self.model_grant(step))
        if isinstance(step, PlaceHold):
            amount = None if step.events else show(step.amount)
            command: dict[str, Any] = {"type": "hold", "customer": step.customer, "amount": amount, "ttlMs": step.ttl_ms}
            return self.command(step.command_id, command, lambda: self.model_hold(step), step.events)
        if isinstance(step, Capture):
            command = {"type": "capture", "holdId": step.hold_id, "amount": None if step.amount is None else show(step.amount)}
            return self.command(step.command_id, command, lambda: self.model_capture(step), step.events)
        if isinstance(step, Release):
            return self.command(step.command_id, {"type": "release", "holdId": step.hold_id}, lambda: self.model_release(step))
        if isinstance(step, Refund):
            parts = [{"grantId": grant_id, "amount": show(amount)} for grant_id, amount in step.parts]
            command = {"type": "refund", "customer": step.customer, "parts": parts, **({"decideOnce": True} if step.once else {})}
            return self.command(step.command_id, command, lambda: self.model_refund(step))
        if isinstance(step, Void):
            words: dict[str, Any] = {"by": "key_test", "reason": "a test"}
            if step.set_id is None:
                return self.command(step.command_id, {"type": "void", "key": step.keys[0], **words}, lambda: self.model_void(step.keys[0]))
            command = {"type": "void_set", "keys": list(step.keys), "setId": step.set_id, **words}
            return self.command(step.command_id, command, lambda: self.model_void_set(step.keys))
        if isinstance(step, Amend):
            command = {"type": "amend", "key": step.key, "by": "key_test", "reason": None}
            return self.command(step.command_id, command, lambda: self.model_amend(step), Batch((step.event,)))
        if isinstance(step, Configure):
            limit = None if step.overdraft_limit is None else show(step.overdraft_limit)
            command = {"type": "configure", "customer": step.customer, "overdraftLimit": limit, "create": True}
            if step.currency is not None:
                command["currency"] = step.currency
            return self.command(step.command_id, command, lambda: self.model_configure(step))
        raise AssertionError(f"not a message: {step}")

    # -- usage

    def decode(self, batch: Batch) -> _core.DecodedBatch:
        """Through the real decoder."""
        return _core.decode_batch(json.dumps(batch.json()).encode(), TENANT_ID, self.now_us)

    def usage(self, batch: Batch) -> tuple[bytes, Check]:
        """A batch and the comparison of each event's outcome and charge with the oracle's."""
        decoded = self.decode(batch)
        now_us = self.now_us

        def check(reply: bytes) -> None:
            _, kind, body = _core.split_reply(reply)
            assert kind == 1
            answer = json.loads(decoded.answer(body, True, "req_test"))
            results = {result["index"]: result for result in answer["results"]}
            charged: dict[str, int] = {}
            for index, entry in enumerate(batch.entries):
                got = as_outcome(results[index])
                if isinstance(entry, Usage):
                    expected = self.model.use(entry, now_us)
                    if expected.code == "accepted":
                        currency = self.model.wallets[entry.customer].currency
                        charged[currency] = charged.get(currency, 0) + expected.charge
                    if got.code == expected.code == "duplicate":
                        # The charge of a duplicate is looked up by the edge.
                        continue
                else:
                    expected = Outcome(entry[1])
                assert got == expected, f"event {index} {entry}: engine {got}, oracle {expected}"
            assert answer["chargedByCurrency"] == {currency: show(amount) for currency, amount in charged.items()}
            assert answer["charged"] == (None if len(charged) > 1 else show(sum(charged.values())))
            self.answers.append((answer["accepted"], answer["duplicates"], answer["rejected"], answer["chargedByCurrency"]))

        message = decoded.message(self.message_id(), REPLY_TO, False) if decoded.pending else None
        if message is None:
            # Nothing in it is for the core; an empty message keeps the bookkeeping the same.
            return self.usage(Batch((Usage("customer-0", f"filler-{self.numbers}-{id(batch)}", "images", 10**9, now_us),)))
        return message, check

    # -- commands

    def command(
        self, command_id: str, command: dict[str, Any], expected: Callable[[], dict[str, Any]], events: Batch | None = None
    ) -> tuple[bytes, Check]:
        """A command and the comparison of its answer with what the oracle says at that point."""
        command["commandId"] = command_id
        section = b""
        if command_id not in self.commands:
            if events is not None:
                section = self.decode(events).section()
            self.commands[command_id] = command_message(TENANT_ID, bytes(16), command, section)
        template = self.commands[command_id]
        message_id = self.message_id()
        message = template[:12] + message_id + template[28:]

        def check(reply: bytes) -> None:
            _, kind, body = _core.split_reply(reply)
            assert kind == 2
            got = json.loads(body)
            if command_id in self.results:
                assert got == self.results[command_id], "a repeated command must get its first answer"
                return
            try:
                wanted = expected()
            except RefusedError as refusal:
                assert not got["ok"], f"{command}: the oracle refuses with {refusal.code}, the engine says {got}"
                assert got["code"] == refusal.code, f"{command}: engine {got}, oracle {refusal.code}"
                if "decideOnce" in command:
                    self.results[command_id] = got
                self.answers.append(refusal.code)
                return
            assert got["ok"], f"{command}: the oracle does it, the engine says {got}"
            for name, value in wanted.items():
                assert got[name] == value, f"{command}: {name} is {got[name]} in {got}, the oracle says {value}"
            if command["type"] != "configure":
                self.results[command_id] = got
            self.answers.append(wanted)

        return message, check

    def grant_command(self, step: GiveGrant) -> dict[str, Any]:
        """A grant's expiry is relative to now, so a repetition has to repeat the first JSON."""
        if step.command_id not in self.expiries:
            self.expiries[step.command_id] = None if step.expires_in_us is None else self.now_us + step.expires_in_us
        return {
            "type": "grant",
            "customer": step.customer,
            "amount": show(step.amount),
            "currency": step.currency,
            "kind": step.kind,
            "priority": step.priority,
            "expiresAtUs": self.expiries[step.command_id],
        }

    def model_grant(self, step: GiveGrant) -> dict[str, Any]:
        """The oracle's answer to a grant."""
        expires_us = self.expiries[step.command_id]
        self.model.grant(
            step.customer,
            step.command_id,
            step.amount,
            kind=step.kind,
            priority=step.priority,
            expires_us=expires_us,
            now_us=self.now_us,
            currency=step.currency,
        )
        return {"grantId": f"gr_{step.command_id}", "amount": show(step.amount)}

    def model_hold(self, step: PlaceHold) -> dict[str, Any]:
        """The oracle's answer to a hold."""
        events = None if step.events is None else [entry for entry in step.events.entries if isinstance(entry, Usage)]
        amount = step.amount if events is None else self.model.estimate(events)
        self.model.hold(step.customer, step.command_id, amount, ttl_us=step.ttl_ms * 1000, now_us=self.now_us)
        return {"holdId": f"hold_{step.command_id}", "amount": show(amount), "status": "open"}

    def model_capture(self, step: Capture) -> dict[str, Any]:
        """The oracle's answer to a capture."""
        if step.events is not None:
            events = [entry for entry in step.events.entries if isinstance(entry, Usage)]
            outcomes = self.model.capture_with_events(step.hold_id, events, self.now_us)
            return {"status": "captured", "captured": show(sum(outcome.charge for outcome in outcomes if outcome.code == "accepted"))}
        hold = self.model.capture(step.hold_id, step.amount, self.now_us)
        return {"status": "captured", "captured": show(hold.captured), "released": show(hold.amount - hold.captured)}

    def model_release(self, step: Release) -> dict[str, Any]:
        """The oracle's answer to a release."""
        hold: Hold = self.model.release(step.hold_id, self.now_us)
        return {"status": "released", "captured": "0", "released": show(hold.amount)}

    def model_refund(self, step: Refund) -> dict[str, Any]:
        """The oracle's answer to a refund."""
        taken = self.model.refund(step.customer, list(step.parts), self.now_us)
        parts = [{"grantId": f"gr_{grant_id}", "amount": show(amount), "remaining": show(left)} for grant_id, amount, left in taken]
        return {"amount": show(sum(amount for _, amount in step.parts)), "parts": parts}

    def model_void(self, key: str) -> dict[str, Any]:
        """The oracle's answer to a void. What is said of a void stays the same, also to those who come later."""
        again = key in self.model.voided
        paid = [
            {
                "account": "customer_unbilled" if payer == UNBILLED else "customer_wallet",
                "grantId": None if payer in (None, UNBILLED) else f"gr_{payer}",
                "amount": show(amount),
            }
            for payer, amount in self.model.paid.get(key, [])
        ]
        charge = self.model.void(key, self.now_us)
        if not again:
            self.after_void[key] = after(self.model.wallets[self.model.known[key][0].customer])
        told = {"alreadyVoided": again, "amount": show(charge), "givenBackTo": paid, "amendedBy": self.model.voided[key]}
        return {**told, **self.after_void[key]}

    def model_void_set(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """The oracle's answer to the voids of some events: each is decided by itself."""
        voided, refused = 0, []
        amounts: dict[str, int] = {}
        for key in keys:
            if key not in self.model.known:
                refused.append({"idempotencyKey": key, "code": "event_not_found"})
            elif key not in self.model.voided:
                wallet = self.model.wallets[self.model.known[key][0].customer]
                voided += 1
                amounts[wallet.currency] = amounts.get(wallet.currency, 0) + self.model.void(key, self.now_us)
                self.after_void[key] = after(wallet)
        already = len(keys) - voided - len(refused)
        shown = {currency: show(amount) for currency, amount in amounts.items()}
        return {"voided": voided, "alreadyVoided": already, "amounts": shown, "refused": refused}

    def model_amend(self, step: Amend) -> dict[str, Any]:
        """The oracle's answer to an amendment; one that was done before gets its first answer."""
        done = self.amended.get(step.key)
        stored = self.model.known.get(step.key)
        if stored and step.key not in self.model.voided and stored[0].customer != step.event.customer:
            raise RefusedError("customer_mismatch")
        again = step.key in self.model.voided
        _, charge = self.model.amend(step.key, step.event, self.now_us)
        if again and done is not None:
            return done
        wallet = self.model.wallets[step.event.customer]
        # Before the new event was charged.
        paid = dict.fromkeys((None, UNBILLED), 0)
        for payer, amount in self.model.paid[step.event.key]:
            paid[UNBILLED if payer == UNBILLED else None] += amount
        self.after_void[step.key] = after(wallet, available=paid[None], unbilled=-paid[UNBILLED])
        told = {"idempotencyKey": step.event.key, "amends": step.key, "charge": show(charge), "currency": wallet.currency}
        self.amended[step.key] = {"event": told, **after(wallet)}
        return self.amended[step.key]

    def model_configure(self, step: Configure) -> dict[str, Any]:
        """The oracle's answer to a change of the overdraft limit."""
        wallet = self.model.configure(step.customer, limit=step.overdraft_limit, currency=step.currency, now_us=self.now_us)
        return {"currency": wallet.currency}

    # -- comparison

    def wallets(self) -> dict[str, tuple[int, int, int, dict[str, int]]]:
        """(available, held, unbilled, remaining by grant id) of every customer, from the tables as they were written."""
        found = {}
        tables = self.partition.tables
        for customer in tables.of("customers", TENANT_ID):
            history = [row for row in tables.of("postings", TENANT_ID) if row["account_id"] == customer["account_id"]]
            last = history[-1] if history else {"balance_after": 0, "held_after": 0, "unbilled_after": 0, "grants_after": None}
            packed = last["grants_after"] or b""
            remaining = {
                packed[place : place + 16].hex(): int.from_bytes(packed[place + 16 : place + 32], "little", signed=True)
                for place in range(0, len(packed), 32)
            }
            found[customer["external_id"]] = (last["balance_after"], last["held_after"], last["unbilled_after"], remaining)
        return found

    def counters(self) -> dict[Any, int]:
        """What every customer has used of a line in a period, from the tables as they were written, in the oracle's words."""
        names = {number: counter for counter, number in counter_ids(self.model.cards).items()}
        found = {}
        for customer in self.partition.tables.of("customers", TENANT_ID):
            for (counter_id, start_us), quantity in self.partition.counters(customer["account_id"]).items():
                if quantity:
                    found[customer["external_id"], names[counter_id], start_us] = quantity
        return found

    def compare(self) -> None:
        """Every wallet is the same in the tables and in the oracle, and the oracle has kept its own rules."""
        self.model.check()
        written = self.wallets()
        for name, wallet in self.model.wallets.items():
            remaining = {grant.grant_id: grant.remaining for grant in wallet.grants.values() if grant.remaining}
            expected = (wallet.available, wallet.held, wallet.unbilled, remaining)
            assert written.get(name, (0, 0, 0, {})) == expected, f"{name}: tables {written.get(name)}, oracle {expected}"
        assert set(written) == set(self.model.wallets), "the customers differ"
        assert self.counters() == {key: quantity for key, quantity in self.model.counters.items() if quantity}
        voids = self.partition.tables.of("usage_voids", TENANT_ID)
        assert {row["idempotency_key"]: row["replaced_by"] for row in voids} == self.model.voided


def after(wallet: Wallet, *, available: int = 0, unbilled: int = 0) -> dict[str, str]:
    """A wallet's amounts as answers say them. available, unbilled: to be added."""
    return {"balanceAfter": show(wallet.available + available), "unbilledAfter": show(wallet.unbilled + unbilled)}


def reply_outcomes(body: bytes) -> list[tuple[int, int, int]]:
    """(index, outcome, charge in nano-units) of a usage reply's body, read from its bytes."""
    (count,) = struct.unpack_from("<H", body)
    found = []
    for number in range(count):
        index, outcome = struct.unpack_from("<HB", body, 2 + 19 * number)
        charge = int.from_bytes(body[5 + 19 * number : 21 + 19 * number], "little", signed=True)
        found.append((index, outcome, charge))
    return found
