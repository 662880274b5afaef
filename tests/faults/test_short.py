"""The fault harness in its short form, as part of `make test`."""

from __future__ import annotations

import pytest

from tests.faults.__main__ import run
from tests.faults.scenarios import registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
# What every change must survive; the rest is in `make faults`.
TOGETHER = ["kill_edge", "kill_core", "kill_valkey", "kill_postgres", "flushall", "two_cores", "client_gone"]


async def test_nothing_is_lost_or_doubled() -> None:
    """Proves: after kills of every process, FLUSHALL, two cores and clients that hang up, all that was acknowledged is there, once."""
    lines = await run(TOGETHER, short=True)
    assert [str(line) for line in lines if not line.passed] == []
    assert [line.name for line in lines] == TOGETHER


async def test_a_lost_answer_to_commit() -> None:
    """Proves: when the connection breaks at COMMIT, the core asks the database what became of it, and no event is lost or doubled."""
    lines = await run(["lost_commit_answer"], short=True)
    assert [str(line) for line in lines if not line.passed] == []
    assert lines[0].kills >= 2


async def test_a_sweep_that_dies_before_or_after_its_commit() -> None:
    """Proves: a core that is killed while it settles ended periods charges each for all of its usage, once."""
    lines = await run(["settling"], short=True)
    assert [str(line) for line in lines if not line.passed] == []
    assert lines[0].kills >= 2


async def test_kills_between_the_steps_of_payments() -> None:
    """Proves: wherever edge, worker or core is killed while somebody pays or is refunded, wallets and cash book are what the channels say.

    And the harness is not blind: a callback that somebody else acknowledges is found as a loss.
    """
    lines = await run(["pay_sample", "pay_control"], short=True)
    assert [str(line) for line in lines if not line.passed] == []
    assert lines[0].kills >= 4


async def test_the_harness_sees_loss() -> None:
    """Proves: the harness is not blind. With asynchronous commits and PostgreSQL killed whole it reports lost events."""
    lines = await run(["control"], short=True)
    assert lines[0].result.lost > 0, str(lines[0])


def test_every_fault_has_a_name() -> None:
    """Proves: the list of faults is complete: nothing of the agreed list has been dropped."""
    expected = {"kill_edge", "kill_core", "kill_worker", "kill_valkey", "kill_postgres", "flushall", "redis_down"}
    expected |= {"lost_commit_answer", "settling", "two_cores", "disk_full", "overload", "client_gone", "control"}
    expected |= {"pay_begin", "pay_callback", "pay_callback_alipay", "pay_left_to_worker", "pay_page_asks", "pay_worker_asks"}
    expected |= {"pay_other_way", "pay_after_change", "pay_expiry", "pay_found_at_expiry", "pay_after_close", "pay_twice", "pay_twice_left"}
    expected |= {"pay_canceled", "refund", "refund_left", "refund_closed", "refund_closed_left", "pay_sample", "pay_control"}
    assert set(registry()) == expected
