"""Payments as a state machine whose truth is the channel's: whatever payer, merchant and channel do, and in whatever order news of it
comes, in the end each payment is credited once or has gone back, and wallets, refunds and cash book are what the channels' own records say.

Callbacks are off: a rule sends them, late, twice, or never, and another one has the worker ask. BUFFMONEY_TEST_EXAMPLES=200 looks longer.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults.truth import Truth, compare
from tests.payer import Payer
from tests.product import Merchant, wait_until

WAYS = ("native", "precreate")
PARTS = ("10", "25", "40", "100")
"""of ¥100 with a bonus of ¥20: their shares of it are whole"""
EXAMPLES = int(os.environ.get("BUFFMONEY_TEST_EXAMPLES", "30"))


@dataclass
class Attempt:
    """An order as the payer knows it."""

    number: str
    code: str
    paid: bool = False


@dataclass
class Purchase:
    """A top-up, and what was done about it."""

    made: dict[str, Any]
    attempts: dict[str, Attempt] = field(default_factory=dict)
    canceled: bool = False

    @property
    def paid(self) -> list[Attempt]:
        """Attempts that the channel has taken money for."""
        return [one for one in self.attempts.values() if one.paid]


PICK = st.integers(0, 59)
"""one of what there is, whatever there is: by its remainder"""


class Payments(RuleBasedStateMachine):
    """Top-ups of one merchant, each of ¥100 with ¥20 on top."""

    payer: Payer
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Purchase] = []

    @property
    def unpaid(self) -> list[Attempt]:
        """What can be tried at the phone."""
        return [attempt for one in self.all for attempt in one.attempts.values() if not attempt.paid]

    @property
    def paid(self) -> list[Purchase]:
        """Top-ups that the channel has taken money for."""
        return [one for one in self.all if one.paid]

    # -- the payer

    @initialize(way=st.sampled_from(WAYS))
    def begin(self, way: str) -> None:
        """One customer has two codes that can both be paid, as Alipay does not know its own before the scan; another one has one."""
        for number, ways in enumerate((("precreate", "native"), (way,))):
            self.all.append(Purchase(self.payer.top_up(customer=f"customer-{self.payer.merchant.tenant_id}-{id(self)}-{number}")))
            for one in ways:
                self.start(number, one)

    @rule(pick=PICK, way=st.sampled_from(WAYS))
    def start(self, pick: int, way: str) -> None:
        """Chooses how to pay, or chooses again; what is over starts nothing."""
        one = self.all[pick % len(self.all)]
        before = self.orders(one)
        answer = self.payer.client.post(f"{one.made['checkoutUrl']}/start", data={"product": way})
        assert answer.status_code in (303, 409, 422), answer.text[:300]
        for row in self.orders(one):
            if row["order_no"] not in one.attempts and row["started"] is not None:
                one.attempts[row["order_no"]] = Attempt(row["order_no"], self.truth_of(row["order_no"])["code"])
        if one.canceled:
            assert len(self.orders(one)) == len(before)

    @rule(pick=PICK, outcome=st.sampled_from(("pay", "pay", "pay", "fail")))
    def press(self, pick: int, outcome: str) -> None:
        """Pays, or fails to, by any code that was ever shown."""
        if self.unpaid:
            attempt = self.unpaid[pick % len(self.unpaid)]
            self.payer.press(attempt.code, outcome)
            attempt.paid = self.truth_of(attempt.number)["paidAt"] is not None

    @rule(pick=PICK)
    def look(self, pick: int) -> None:
        """Looks at the page, which asks the channel."""
        one = self.all[pick % len(self.all)]
        assert self.payer.client.get(f"{one.made['checkoutUrl']}/status").status_code == 200

    # -- the channel

    @rule(pick=PICK, times=st.integers(1, 4))
    def tell(self, pick: int, times: int) -> None:
        """Callbacks of what was paid, several at once."""
        numbers = [attempt.number for attempt in self.all[pick % len(self.all)].paid] * times
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: self.payer.control(f"orders/{number}/announce"), numbers))

    # -- the merchant, and our worker

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """The merchant takes the offer back."""
        one = self.all[pick % len(self.all)]
        answer = self.payer.merchant.call("POST", f"/v1/top-ups/{one.made['topUpId']}/cancel", {})
        assert answer.status_code in (200, 409), answer.text
        one.canceled |= answer.status_code == 200

    @rule(pick=PICK, amounts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=3))
    def refund(self, pick: int, amounts: list[str]) -> None:
        """Parts of it at once, also more than was paid."""
        path = f"/v1/top-ups/{self.all[pick % len(self.all)].made['topUpId']}/refunds"
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda amount: self.payer.merchant.call("POST", path, {"amount": amount}), amounts))
        self.seen["refunds"] += sum(answer.status_code == 201 for answer in answers)
        assert all(answer.status_code in (201, 409, 422) for answer in answers), [answer.text for answer in answers]

    @rule()
    def ask(self) -> None:
        """The worker asks about everything now."""
        self.hurry()

    @rule()
    def settle(self) -> None:
        """All news arrive, and everything that is under way comes to its end: then nothing is off."""
        for one in self.all:
            for attempt in one.paid:
                self.payer.control(f"orders/{attempt.number}/announce")
        last: list[Truth] = []

        def agreed() -> bool:
            self.hurry()
            last[:] = [asyncio.run(self.compare())]
            return not last[0].differences

        try:
            wait_until(agreed, 20)
        except AssertionError as late:
            raise AssertionError(f"{last[0]}") from late
        for one in self.all:
            self.judge(one)

    def teardown(self) -> None:
        """Whatever was left under way."""
        if not self.all:
            return
        self.settle()
        self.seen["paid"] += sum(len(one.paid) for one in self.all)
        self.seen["paid twice"] += sum(len(one.paid) > 1 for one in self.all)
        self.seen["paid and canceled"] += sum(one.canceled for one in self.paid)
        report = self.payer.merchant.product.verify()
        assert (report["exit"], report["differences"]) == (0, [])

    # -- what must hold

    def judge(self, one: Purchase) -> None:
        """The first payment of an open top-up is credited, all others go back whole; of a canceled one all do."""
        rows = {row["order_no"]: row for row in self.orders(one)}
        credited = [attempt for attempt in one.paid if rows[attempt.number]["outcome"] == "credited"]
        assert len(credited) == (0 if one.canceled else min(1, len(one.paid))), one
        for attempt in one.paid:
            truth = self.truth_of(attempt.number)
            refunded = sum(Decimal(refund["amount"]) for refund in truth["refunds"] if refund["status"] == "SUCCESS")
            assert refunded <= 100
            if attempt not in credited:
                assert truth["refunded"] == "100.00", truth
        status = self.payer.status(one.made)
        assert status == ("canceled" if one.canceled else "credited" if one.paid else "open")

    async def compare(self) -> Truth:
        """Our books against the channels'."""
        product = self.payer.merchant.product
        connection = await asyncpg.connect(product.run["databaseUrl"])
        try:
            return await compare(connection, self.payer.merchant.tenant_id, Path(product.data_dir) / "simulator")
        finally:
            await connection.close()

    def truth_of(self, number: str) -> dict[str, Any]:
        """What the channel says of an order."""
        answer = self.payer.client.get(f"{self.payer.simulator}/control/orders/{number}")
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def orders(self, one: Purchase) -> list[dict[str, Any]]:
        """The payment orders of a top-up, oldest first."""
        statement = "SELECT * FROM payment_orders WHERE top_up_id = $1 ORDER BY created_at, order_id"
        return [dict(row) for row in self.payer.sql.fetch(statement, one.made["topUpId"])]

    def hurry(self) -> None:
        """What the worker would do later is due."""
        for table, column in (("payment_orders", "next_poll_at"), ("refunds", "next_step_at")):
            self.payer.sql.fetch(
                f"UPDATE {table} SET {column} = now() WHERE tenant_id = $1 AND {column} > now()", self.payer.merchant.tenant_id
            )


@pytest.mark.slow
def test_payments_follow_the_channels_truth(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: see the top of this file."""
    payer = Payer(new_merchant())
    payer.merchant.ok("POST", "/v1/promotions", {"name": "twenty", "buy": "100", "get": "20"})
    payer.control("callbacks", mode="off")
    payer.control("refunds", outcome="SUCCESS", delaySeconds=0, gapSeconds=0)
    Payments.payer = payer
    Payments.seen.clear()
    try:
        run_state_machine_as_test(
            Payments,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=25,
                deadline=None,
                derandomize="BUFFMONEY_TEST_EXAMPLES" not in os.environ,
                # Whatever is found is not looked for in fewer steps: what happens beside them is not the same again.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        # What was never met is not proven.
        assert all(Payments.seen[what] for what in ("paid", "paid twice", "paid and canceled", "refunds")), Payments.seen
    finally:
        print(dict(Payments.seen))
        payer.control("callbacks", mode="normal")
        payer.control("refunds", delaySeconds=0, gapSeconds=0)
        payer.close()
