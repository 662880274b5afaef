"""Payments and refunds, with a kill between every two of their steps. Each flow is a fault of its own in `scenarios.registry`.

A product reaches PostgreSQL, Valkey and the simulator through proxies (`wires`), and is reached through one, so nothing in it knows of
this (`till`). Each flow runs once to count its steps (`course`); then once for each step with a kill -9 right before it is forwarded,
and, if something may last of it by itself, once with a kill after it was done and before its answer arrives. The supervisor starts what
was killed, and callbacks, polls and the worker go on. At the end the channels' own records say what should be where (`truth`).

One means of recovery at a time: where callbacks are to bring the news nobody polls, and where polling is to find it there are no
callbacks. Callbacks come at hundreds of times their speed, and what a worker would do when a lease of a minute has run out it does at
once (`Till.hurry`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Literal

import asyncpg

from tests.faults.arena import Line
from tests.faults.course import SERVERS, Step, Strike
from tests.faults.till import AGAIN_S, PATIENCE_S, Purchase, Till, till
from tests.faults.truth import Truth, compare
from tests.product import Product

HURRY_EVERY_S = 0.5
LOST_AFTER_S = 5.0
"""how long the control waits for credits that will not come"""
SERVERS_EVERY = 4
"""of the steps at a server, at which the server itself is killed"""
SEED = 4
SAMPLE = 2
"""flows of paying, and as many of refunding, of which the short form kills at one step"""

Part = Callable[[Till, Purchase], Coroutine[None, None, None]]
Done = Callable[[Till, Purchase], Coroutine[None, None, bool]]


@dataclass(frozen=True)
class Flow:
    """prepare: before steps count. act: what people do then. done: whether nothing is left to be done.

    roles: who is killed. lead: a kill before the one at a step, so that somebody else has to go on. callbacks: whether there are any when
    people begin. polls: whether the worker asks when it is time. refunds: what becomes of them at the channel.
    """

    prepare: Part
    act: Part
    done: Done
    roles: tuple[str, ...]
    lead: Strike | None = None
    callbacks: Literal["normal", "off"] = "normal"
    polls: bool = False
    refunds: Literal["SUCCESS", "CLOSED"] = "SUCCESS"


@dataclass
class PaymentLine(Line):
    """What one flow came to."""

    steps: int = 0
    missed: int = 0
    truth: Truth = field(default_factory=Truth)
    losing: list[str] = field(default_factory=list)
    """the customers of whom the control must find that they have lost something"""

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be; for the control, whether every loss was seen."""
        truth = self.truth
        if self.expect_loss:
            found = [one for one in self.losing if any(text.startswith(f"{one} has ") for text in truth.differences)]
            return found == self.losing != [] and truth.unpaid == 0
        clean = truth.lost == truth.unpaid == truth.doubled == truth.left_open == 0
        return clean and self.verify == "clean" and self.kills > 0 and not truth.differences and not self.result.differences

    def __str__(self) -> str:
        truth, slowest = self.truth, f"{max(self.recovery_s):.1f}s" if self.recovery_s else "-"
        return (
            f"{self.name:<22} steps={self.steps:<3} kills={self.kills:<3} paid={truth.paid:<4} credited={truth.credited:<4} "
            f"refunded={truth.refunded:<3} lost={truth.lost} unpaid={truth.unpaid} doubled={truth.doubled} left_open={truth.left_open} "
            f"slowest={slowest} verify={self.verify} {'ok' if self.passed else 'FAILED'}{f' ({self.note})' if self.note else ''}"
        )


# ---------------------------------------------------------------- what people do


async def nothing(_till: Till, _one: Purchase) -> None:
    """Not a thing."""


async def order(at: Till, one: Purchase) -> None:
    """A top-up, and WeChat's code for it."""
    await at.top_up(one)
    await at.start(one)


async def order_and_pay(at: Till, one: Purchase) -> None:
    """All that a payer does."""
    await order(at, one)
    await at.pay(one)


async def pay_unheard(at: Till, one: Purchase) -> None:
    """Paid, and the channel says nothing of it yet."""
    await at.callbacks("off")
    await order_and_pay(at, one)


async def pay_twice_unheard(at: Till, one: Purchase) -> None:
    """Two codes of one top-up, which can both be paid because Alipay does not know its trade before the scan. Both are."""
    await at.callbacks("off")
    await at.top_up(one)
    await at.start(one, "precreate")
    await at.start(one)
    await at.pay(one)


async def buy(at: Till, one: Purchase) -> None:
    """Paid and credited."""
    await at.callbacks("normal")
    await order_and_pay(at, one)
    await until(at.credited, one)


async def canceled(at: Till, one: Purchase) -> None:
    """A top-up that was cancelled while its code could still be paid."""
    await at.top_up(one)
    await at.start(one, "precreate")
    await at.shop("POST", f"/v1/top-ups/{one.top_up_id}/cancel", {})


async def hear(at: Till, _one: Purchase) -> None:
    """The channels say what they have kept to themselves."""
    await at.callbacks("normal")


async def look(at: Till, one: Purchase) -> None:
    """The payer looks at the page until it says that the credits are there."""
    while not await at.credited(one):
        await at.until_known("GET", f"{one.checkout_url}/status")
        await asyncio.sleep(HURRY_EVERY_S)


async def choose_again(at: Till, one: Purchase) -> None:
    """The payer, who has paid, chooses another way to pay."""
    await at.start(one, "precreate")


async def come_due(at: Till, one: Purchase) -> None:
    """The worker's time to ask has come."""
    await at.hurry(one, polls=True)


async def choose_and_pay(at: Till, one: Purchase) -> None:
    """The payer chooses another way, which closes the first one, and pays by that."""
    await at.start(one, "precreate")
    one.codes = one.codes[-1:]
    await at.pay(one)


async def expire_then_pay(at: Till, one: Purchase) -> None:
    """Closed here at its expiry, since Alipay does not know it; then the code is scanned and paid after all."""
    await at.expire(one)
    await until(at.closed, one)
    await at.pay(one)


async def ask_refund(at: Till, one: Purchase) -> None:
    """The merchant gives ¥30 back."""
    await at.shop("POST", f"/v1/top-ups/{one.top_up_id}/refunds", {"amount": "30"})


async def order_by_alipay(at: Till, one: Purchase) -> None:
    """A top-up, and Alipay's code for it."""
    await at.top_up(one)
    await at.start(one, "precreate")


async def until(done: Callable[[Purchase], Coroutine[None, None, bool]], one: Purchase) -> None:
    """Waits for something that happens by itself. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not await done(one):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done.__name__} did not come true for {one.customer}")
        await asyncio.sleep(AGAIN_S)


# ---------------------------------------------------------------- the flows


async def credited(at: Till, one: Purchase) -> bool:
    """The credits are in the wallet."""
    return await at.credited(one)


async def refunded(at: Till, one: Purchase) -> bool:
    """The refund is over."""
    return await at.refunded(one)


async def credited_and_refunded(at: Till, one: Purchase) -> bool:
    """One payment is credited, the other has gone back."""
    return await at.credited(one) and await at.refunded(one)


async def closed(at: Till, one: Purchase) -> bool:
    """The order is closed."""
    return await at.closed(one)


async def credited_and_closed(at: Till, one: Purchase) -> bool:
    """Paid one way, and the other way is closed."""
    return await at.credited(one) and await at.closed(one)


def edge_dies_after(statement: str) -> Strike:
    """The edge is killed when the transaction with this statement is committed, before it knows."""
    return Strike("edge", lambda step: step.name.startswith("COMMIT") and statement in step.transaction, after=True)


FLOWS: dict[str, Flow] = {
    "pay_begin": Flow(nothing, order_and_pay, credited, ("edge",)),
    "pay_callback": Flow(order, Till.pay, credited, ("edge", "core", *SERVERS)),
    "pay_callback_alipay": Flow(order_by_alipay, Till.pay, credited, ("edge",)),
    "pay_left_to_worker": Flow(order, Till.pay, credited, ("worker", "core"), lead=edge_dies_after("credit")),
    "pay_page_asks": Flow(pay_unheard, look, credited, ("edge",), callbacks="off"),
    "pay_worker_asks": Flow(pay_unheard, come_due, credited, ("worker",), callbacks="off", polls=True),
    "pay_other_way": Flow(pay_unheard, choose_again, credited, ("edge",), callbacks="off"),
    "pay_after_change": Flow(order, choose_and_pay, credited_and_closed, ("edge",), polls=True),
    "pay_expiry": Flow(order, Till.expire, closed, ("worker",), callbacks="off", polls=True),
    "pay_found_at_expiry": Flow(pay_unheard, Till.expire, credited, ("worker",), callbacks="off", polls=True),
    "pay_after_close": Flow(order_by_alipay, expire_then_pay, credited, ("worker",), callbacks="off", polls=True),
    "pay_twice": Flow(pay_twice_unheard, hear, credited_and_refunded, ("edge",), callbacks="off"),
    "pay_twice_left": Flow(pay_twice_unheard, hear, credited_and_refunded, ("worker",), edge_dies_after("insert_refund"), "off"),
    "pay_canceled": Flow(canceled, Till.pay, refunded, ("edge",)),
    "refund": Flow(buy, ask_refund, refunded, ("edge", "core", *SERVERS)),
    "refund_left": Flow(buy, ask_refund, refunded, ("worker", "core"), lead=edge_dies_after("insert_refund"), callbacks="off"),
    "refund_closed": Flow(buy, ask_refund, refunded, ("edge", "core"), refunds="CLOSED"),
    "refund_closed_left": Flow(buy, ask_refund, refunded, ("worker",), edge_dies_after("insert_refund"), "off", refunds="CLOSED"),
}


class Case:
    """Runs of one flow, each with a customer of its own."""

    def __init__(self, at: Till, name: str, line: PaymentLine) -> None:
        self.at, self.name, self.flow, self.line = at, name, FLOWS[name], line
        self.runs = 0

    async def run(self, whose: str, *strikes: Strike, within_s: float = PATIENCE_S) -> list[Step]:
        """One run; the steps of `whose` that were met. What is not done in time is noted, and found by `compare`."""
        flow, at, course = self.flow, self.at, self.at.course
        self.runs += 1
        one = Purchase(f"{self.name}-{self.runs}")
        await at.control("refunds", outcome=flow.refunds, delaySeconds=0.2, gapSeconds=0)
        await at.callbacks("normal")
        await flow.prepare(at, one)
        await at.callbacks(flow.callbacks)
        kills, began = course.kills, time.monotonic()
        course.begin(whose, *strikes)
        try:
            async with asyncio.timeout(within_s):
                await self._through(one)
        except TimeoutError as late:
            where = f" {', then '.join(course.struck)}" if course.struck else ""
            self.line.result.differ(f"{one.customer} was not done within {within_s:.0f} s{where} {late}".rstrip())
        finally:
            steps = course.end()
        self.line.kills += course.kills - kills
        self.line.recovery_s.append(time.monotonic() - began)
        self.line.missed += course.pending_strikes
        await at.whole()
        return steps

    async def _through(self, one: Purchase) -> None:
        flow, at, course = self.flow, self.at, self.at.course
        acting = asyncio.create_task(flow.act(at, one))
        hurried = time.monotonic()
        try:
            while not (acting.done() and await flow.done(at, one)):
                if acting.done():
                    acting.result()
                if time.monotonic() - hurried > HURRY_EVERY_S:
                    hurried = time.monotonic()
                    # Before the kill everything has its own time.
                    if course.struck or flow.polls:
                        await at.hurry(one, polls=flow.polls)
                await asyncio.sleep(AGAIN_S / 2)
        finally:
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)

    def kills(self, role: str, steps: list[Step]) -> list[tuple[Strike, ...]]:
        """Every kill of a role at these steps; of a server at every fourth."""
        lead = () if self.flow.lead is None else (self.flow.lead,)
        every = SERVERS_EVERY if role in SERVERS else 1
        found = []
        for number, step in enumerate(steps):
            if number % every:
                continue
            if not step.late:
                found.append((*lead, Strike(role, number, after=False)))
            if step.effective or step.late:
                found.append((*lead, Strike(role, number, after=True)))
        return found

    async def count(self, role: str) -> list[Step]:
        """The steps of a role when nobody is killed there."""
        never = Strike(role, lambda _: False, after=False)
        return await self.run(role, never) if self.flow.lead is None else await self.run(role, self.flow.lead, never)


async def _judge(at: Till, line: PaymentLine) -> None:
    connection = await asyncpg.connect(at.database_url, timeout=30)
    try:
        line.truth = await compare(connection, at.tenant_id, at.servers.data_dir / "simulator")
    finally:
        await connection.close()
    truth = line.truth
    line.result.acked, line.result.lost, line.result.left_open = truth.paid, truth.lost, truth.left_open
    line.result.doubled = truth.doubled + truth.unpaid
    if not line.expect_loss:
        report = await asyncio.to_thread(at.product.verify)
        line.verify = "clean" if report["exit"] == 0 and not report["differences"] else f"DIFFERS {report['differences'][:2]}"
        line.result.differences += truth.differences
    if line.missed:
        line.note = f"{line.missed} steps were not met again"


async def every_step(name: str, servers: Product, short: bool) -> PaymentLine:
    """A flow with every kill of every role; `short`: with two of them."""
    line = PaymentLine(name)
    async with till(servers) as at:
        case = Case(at, name, line)
        kills: list[tuple[Strike, ...]] = []
        for role in case.flow.roles:
            steps = await case.count(role)
            line.steps += len(steps)
            kills += case.kills(role, steps)
        for strikes in random.Random(SEED).sample(kills, 2) if short else kills:
            await case.run(strikes[-1].whose, *strikes)
        await _judge(at, line)
    return line


async def sample(servers: Product, _short: bool) -> PaymentLine:
    """One kill in each of a few flows, drawn with a seed."""
    line, drawn = PaymentLine("pay_sample"), random.Random(SEED)
    async with till(servers) as at:
        for name in (flow for kind in ("pay", "refund") for flow in drawn.sample([one for one in FLOWS if one.startswith(kind)], SAMPLE)):
            case = Case(at, name, line)
            role = drawn.choice([role for role in case.flow.roles if role not in SERVERS])
            steps = await case.count(role)
            line.steps += len(steps)
            strikes = drawn.choice(case.kills(role, steps))
            await case.run(strikes[-1].whose, *strikes)
        await _judge(at, line)
    return line


async def control(servers: Product, _short: bool) -> PaymentLine:
    """What is broken from outside must be seen: a callback that somebody else acknowledges, while nobody polls."""
    line = PaymentLine("pay_control", expect_loss=True)
    async with till(servers) as at:
        case = Case(at, "pay_callback", line)
        at.course.unanswered_callbacks = True
        await case.run("edge", within_s=LOST_AFTER_S)
        line.losing = ["pay_callback-1"]
        # That it is not done is what is wanted.
        line.result.differences.clear()
        await _judge(at, line)
    return line
