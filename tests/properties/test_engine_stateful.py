"""The engine as a state machine: hypothesis looks for the shortest way in which engine and oracle part."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from tests.oracle import Card, Charge, Usage, nano
from tests.properties.model_run import ModelRun
from tests.workload import Amend, Batch, Capture, ChangeCard, Configure, GiveGrant, PassTime, PlaceHold, Refund, Release, Void

customers = st.sampled_from(("acme", "beta"))
amounts = st.one_of(st.integers(1, 20).map(lambda whole: nano(str(whole))), st.integers(1, 20 * 10**9))
kinds = st.sampled_from(("paid", "bonus", "promotional"))
PRICES = (Charge("images", "1"), Charge("images", "0.333333333", "7", {"model": "a"}), Charge("storage_gb", "0"))


class Wallets(RuleBasedStateMachine):
    """Two customers, one price list, everything that can happen to them; every step is a group of its own unless gathered."""

    billing = "prepaid"
    holds = Bundle("holds")
    events = Bundle("events")
    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.run_of = ModelRun(group_size=1, billing=self.billing)
        self.run_of.feed([ChangeCard(Card("one", PRICES))])
        self.count = 0

    def command_id(self) -> str:
        """32 hexadecimal digits."""
        self.count += 1
        return f"{self.count:032x}"

    @rule(
        target=events,
        customer=customers,
        quantity=amounts,
        metric=st.sampled_from(("images", "storage_gb", "agent_runs")),
        model=st.booleans(),
    )
    def use(self, customer: str, quantity: int, metric: str, model: bool) -> Any:
        """A new event."""
        self.count += 1
        event = Usage(customer, f"key-{self.count}", metric, quantity, self.run_of.now_us, (("model", "a"),) if model else ())
        self.run_of.feed([Batch((event,))])
        return event

    @rule(event=events)
    def repeat(self, event: Usage) -> None:
        """The same event again, twice in one batch."""
        self.run_of.feed([Batch((event, event))])

    @rule(event=events, quantity=amounts)
    def reuse(self, event: Usage, quantity: int) -> None:
        """Its key with another quantity."""
        self.run_of.feed([Batch((Usage(event.customer, event.key, event.metric, quantity, event.occurred_us, event.dimensions),))])

    @rule(
        target=grants,
        customer=customers,
        amount=amounts,
        kind=kinds,
        priority=st.integers(0, 2),
        expiry_s=st.sampled_from((None, 1, 60)),
    )
    def grant(self, customer: str, amount: int, kind: str, priority: int, expiry_s: int | None) -> Any:
        """Credit, also twice with the same id."""
        expires_in_us = None if expiry_s is None else expiry_s * 10**6
        step = GiveGrant(customer, self.command_id(), amount, kind, priority, expires_in_us)
        self.run_of.feed([step, step])
        return step

    @rule(customer=customers, chosen=st.lists(st.tuples(grants, amounts), min_size=1, max_size=4), once=st.booleans())
    def refund(self, customer: str, chosen: list[tuple[GiveGrant, int]], once: bool) -> None:
        """Credit taken back from grants, perhaps another customer's, one of them twice or with less left; and the same once more."""
        step = Refund(customer, self.command_id(), tuple((grant.command_id, amount) for grant, amount in chosen), once)
        self.run_of.feed([step, step])

    @rule(grant=grants, once=st.booleans())
    def refund_the_rest(self, grant: GiveGrant, once: bool) -> None:
        """All that is left of a grant, and then one more."""
        known = self.run_of.model.wallets[grant.customer].grants[grant.command_id]
        for amount in (known.remaining or 1, 1):
            self.run_of.feed([Refund(grant.customer, self.command_id(), ((grant.command_id, amount),), once)])

    @rule(grant=grants, amount=amounts)
    def roll_back_a_refund(self, grant: GiveGrant, amount: int) -> None:
        """A refund that is applied and then undone was none, refused or not."""
        message, _ = self.run_of.message(Refund(grant.customer, "e" * 32, ((grant.command_id, amount),), once=True))
        del self.run_of.commands["e" * 32]
        self.run_of.partition.apply([message], self.run_of.now_us)
        self.run_of.partition.engine.rollback()

    @rule(target=holds, customer=customers, amount=amounts, ttl_ms=st.sampled_from((500, 60_000)))
    def hold(self, customer: str, amount: int, ttl_ms: int) -> Any:
        """Money set aside, if there is enough."""
        step = PlaceHold(customer, self.command_id(), amount, ttl_ms)
        self.run_of.feed([step])
        return step if step.command_id in self.run_of.model.holds else multiple()

    @rule(hold=holds, amount=st.one_of(st.none(), amounts))
    def capture(self, hold: PlaceHold, amount: int | None) -> None:
        """All or part of a hold, perhaps once too often."""
        self.run_of.feed([Capture(hold.command_id, self.command_id(), amount)])

    @rule(hold=consumes(holds), quantity=amounts)
    def capture_actual(self, hold: PlaceHold, quantity: int) -> None:
        """The actual usage instead of the hold."""
        self.count += 1
        event = Usage(hold.customer, f"key-{self.count}", "images", quantity, self.run_of.now_us)
        self.run_of.feed([Capture(hold.command_id, self.command_id(), events=Batch((event,)))])

    @rule(hold=holds)
    def release(self, hold: PlaceHold) -> None:
        """Gives a hold back, perhaps once too often."""
        self.run_of.feed([Release(hold.command_id, self.command_id())])

    @rule(event=events, in_set=st.booleans())
    def void(self, event: Usage, in_set: bool) -> None:
        """Takes an event back, perhaps once too often, or one that was never taken."""
        set_id = self.command_id() if in_set else None
        self.run_of.feed([Void((event.key,), self.command_id(), set_id)])

    @rule(target=events, event=events, quantity=amounts, metric=st.sampled_from(("images", "storage_gb", "agent_runs")))
    def amend(self, event: Usage, quantity: int, metric: str) -> Any:
        """Another event instead, or neither; and the same once more."""
        self.count += 1
        changed = Usage(event.customer, f"key-{self.count}", metric, quantity, self.run_of.now_us, event.dimensions)
        self.run_of.feed([Amend(event.key, self.command_id(), changed), Amend(event.key, self.command_id(), changed)])
        return changed

    @rule(event=events)
    def roll_back_a_void(self, event: Usage) -> None:
        """A void that is applied and then undone was none."""
        step = Void((event.key,), "f" * 32)
        message, _ = self.run_of.message(step)
        del self.run_of.commands["f" * 32]
        self.run_of.partition.apply([message], self.run_of.now_us)
        self.run_of.partition.engine.rollback()

    @rule(customer=customers, limit=st.sampled_from((0, nano("3"), nano("25"), None)))
    def configure(self, customer: str, limit: int | None) -> None:
        """Another floor."""
        self.run_of.feed([Configure(customer, self.command_id(), limit)])

    @rule(seconds=st.sampled_from((0.000001, 0.5, 1, 61)), sweep=st.booleans())
    def wait(self, seconds: float, sweep: bool) -> None:
        """Time goes by."""
        self.run_of.feed([PassTime(int(seconds * 10**6), sweep)])

    @rule(event=events, quantity=amounts)
    def roll_back(self, event: Usage, quantity: int) -> None:
        """A group that is applied and then undone, as after a failed transaction."""
        other = Usage(event.customer, f"undone-{self.count}", event.metric, quantity, event.occurred_us)
        message, _ = self.run_of.message(Batch((event, other)))
        self.run_of.partition.apply([message], self.run_of.now_us)
        self.run_of.partition.engine.rollback()

    @rule(event=events)
    def undo_and_forget(self, event: Usage) -> None:
        """Another core takes over after a group that was undone."""
        self.roll_back_a_void(event)
        self.run_of.partition.restart()

    @invariant()
    def wallets_agree(self) -> None:
        """Tables and oracle have the same wallets."""
        self.run_of.compare()


class AccruingWallets(Wallets):
    """The same where customers pay after: the limit is of what they owe unbilled."""

    billing = "pay-as-you-go"

    @invariant()
    def no_wallet_is_below_zero(self) -> None:
        """What grants do not cover is owed, not taken."""
        assert all(available >= 0 and unbilled >= 0 for available, _, unbilled, _ in self.run_of.wallets().values())


class SwitchedWallets(Wallets):
    """The same where the merchant began with overdraft and then bills pay-as-you-go, or the other way round."""

    billing = "overdraft"

    @rule(billing=st.sampled_from(("overdraft", "pay-as-you-go")))
    def bill(self, billing: str) -> None:
        """From now on like this."""
        self.run_of.model.bill(billing)
        self.run_of.publish()


RUN = settings(max_examples=80, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
PROVES = "Proves: no sequence of up to 40 steps makes engine and oracle differ in an answer, a wallet or a grant"
TestWallets = Wallets.TestCase
TestWallets.__doc__ = f"{PROVES}."
TestWallets.settings = RUN
TestAccruingWallets = AccruingWallets.TestCase
TestAccruingWallets.__doc__ = f"{PROVES}, where customers pay after, and no wallet is ever below zero."
TestAccruingWallets.settings = RUN
TestSwitchedWallets = SwitchedWallets.TestCase
TestSwitchedWallets.__doc__ = f"{PROVES}, where overdraft and accrual follow each other."
TestSwitchedWallets.settings = RUN
