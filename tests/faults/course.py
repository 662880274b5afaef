"""The steps of a flow, as they pass the proxies, and the kill at one of them.

A step is a round trip that a process makes (a statement, a push or pop, a request to a channel) or answers (a request to the edge).
Statements without any effect of their own are none: BEGIN, settings of a transaction, and a COMMIT of what has written nothing.
Nor is what goes on all the time by itself: a worker's or core's look for work becomes a step only when it finds some.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import psutil

from tests.product import Product

GONE_S = 10.0
SERVERS = ("postgres", "valkey", "simulator")


class Verdict(Enum):
    """What a proxy does with a message. hold: let the step happen, and keep its answer back."""

    PASS = "pass"
    DROP = "drop"
    HOLD = "hold"


@dataclass(frozen=True)
class Step:
    """One round trip. owner: edge, worker or core, whose step it is. server: who is asked, `edge` for requests to it.

    effective: something may last of it by itself. late: known to be a step only from its answer, so nobody can be killed before it.
    transaction: the names of the statements before it in its transaction.
    """

    owner: str
    server: str
    name: str
    effective: bool = True
    late: bool = False
    transaction: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.owner} → {self.server}: {self.name}"


@dataclass(frozen=True)
class Strike:
    """A kill -9 of all processes of a role. at: the number of the step among those of `of`, or a condition on it.

    of: an owner, or one of SERVERS for everybody's steps there. after: once the step is done and before its answer arrives.
    """

    role: str
    at: int | Callable[[Step], bool]
    after: bool
    of: str = ""

    @property
    def whose(self) -> str:
        """Whose steps are counted."""
        return self.of or self.role


@dataclass
class Course:
    """What the proxies report to, and what tells them what to do. `product` has the processes, `servers` those that it speaks to."""

    product: Product
    servers: Product
    kills: int = 0
    steps: list[Step] = field(default_factory=list)
    """of the last stage, in the order in which they were met"""
    running: bool = False
    struck: list[str] = field(default_factory=list)
    """the steps at which somebody was killed since `begin`"""
    heard: set[int] = field(default_factory=set)
    """processes that have opened a connection"""
    unanswered_callbacks: bool = False
    """callbacks are acknowledged by the proxy and go nowhere: for the control run alone"""
    _whose: str = ""
    _strikes: list[Strike] = field(default_factory=list)
    _victims: dict[Step, Strike] = field(default_factory=dict)

    def begin(self, whose: str, *strikes: Strike) -> None:
        """From now on steps count. With strikes, one after the other, the last one's are kept; without, those of `whose`."""
        self._whose, self._strikes, self._victims = whose, list(strikes), {}
        self.steps, self.struck = [], []
        self.running = True

    def end(self) -> list[Step]:
        """Nothing counts any more; what was met."""
        self.running = False
        return self.steps

    @property
    def pending_strikes(self) -> int:
        """Kills that are still to come, those that never come not counted."""
        return sum(not callable(strike.at) for strike in self._strikes) + len(self._victims)

    async def meet(self, step: Step) -> Verdict:
        """A step is about to be forwarded, or a late one has been answered."""
        if not self.running:
            return Verdict.PASS
        strike = self._strikes[0] if self._strikes else None
        whose = strike.whose if strike else self._whose
        if whose not in (step.owner, step.server if step.server in SERVERS else ""):
            return Verdict.PASS
        number = len(self.steps)
        if len(self._strikes) <= 1:
            self.steps.append(step)
        if strike is None or not (strike.at(step) if callable(strike.at) else strike.at == number):
            return Verdict.PASS
        self._strikes.pop(0)
        if strike.after or step.late:
            self._victims[step] = strike
            return Verdict.HOLD
        await self._kill(strike, step)
        return Verdict.DROP

    async def answered(self, step: Step) -> None:
        """The answer of a step that was held is there: now nobody gets it."""
        strike = self._victims.pop(step, None)
        if strike is not None:
            await self._kill(strike, step)

    async def _kill(self, strike: Strike, step: Step) -> None:
        victims = self.victims(strike.role)
        for process in victims:
            os.kill(process.pid, signal.SIGKILL)
        self.kills += len(victims)
        self.struck.append(f"{strike.role} {'after' if strike.after or step.late else 'before'} {step}")
        await asyncio.to_thread(_wait_until_gone, victims)

    def victims(self, role: str) -> list[psutil.Process]:
        """The processes of a role, all of them below a product of ours."""
        home = self.servers if role in SERVERS else self.product
        return [process for process in home.family() if process.pid in home.pids(role)]

    def role_of(self, port: int) -> tuple[str, int]:
        """Whose end of a connection a local port is: the role (`other` for nobody of the product) and pid."""
        for role in ("edge", "worker", "core"):
            for pid in self.product.pids(role):
                try:
                    if any(one.laddr.port == port for one in psutil.Process(pid).net_connections("tcp")):
                        return role, pid
                except psutil.Error:
                    continue
        return "other", 0


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, GONE_S)
    # A zombie that its parent has not fetched yet does nothing any more.
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in left), f"{left} did not die"
