"""What the worker does about payments by itself: a channel that hangs, a channel that was away, a channel without money."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.payer import Payer
from tests.product import Merchant, wait_until


@pytest.fixture
def payer(new_merchant: Callable[..., Merchant]) -> Iterator[Payer]:
    """A customer of a fresh merchant, of whose payments no callback tells."""
    one = Payer(new_merchant())
    one.control("callbacks", mode="off")
    one.control("refunds", delaySeconds=0, gapSeconds=0)
    yield one
    assert one.client.delete(f"{one.simulator}/control/faults").is_success
    one.control("callbacks", mode="normal")
    one.close()


def due(payer: Payer) -> None:
    """Has the worker ask about all open orders of the merchant now."""
    payer.sql.fetch(
        "UPDATE payment_orders SET next_poll_at = now() - interval '1 second' WHERE tenant_id = $1 AND next_poll_at IS NOT NULL",
        payer.merchant.tenant_id,
    )


def test_a_channel_that_hangs_keeps_nobody_else_waiting(payer: Payer) -> None:
    """Proves: with forty orders due whose channel does not answer, one of the other channel is settled at once."""
    for number in range(40):
        payer.start(payer.top_up(customer=f"waits-{number}"))
    made = payer.top_up()
    payer.pay(made, "precreate")
    payer.control("faults", path="/v3/pay/", status="timeout", seconds=9, times=1_000)
    due(payer)
    # Three seconds are a third of what one round of the hanging ones takes.
    wait_until(lambda: payer.status(made) == "credited", 3)


def test_what_was_canceled_while_the_channel_was_away_is_closed_there(payer: Payer) -> None:
    """Proves: the order of a canceled top-up is closed at its channel once that answers again, long before it expires."""
    made = payer.top_up()
    code = payer.start(made)
    payer.control("faults", path="/v3/pay/", status=500, times=1_000)
    payer.merchant.ok("POST", f"/v1/top-ups/{made['topUpId']}/cancel", {})
    assert payer.order(made)["status"] == "pending"
    assert payer.client.delete(f"{payer.simulator}/control/faults").is_success
    due(payer)
    wait_until(lambda: payer.order(made)["status"] == "closed", 10)
    assert not payer.press(code).is_success


@pytest.mark.parametrize("way", ["native", "precreate"])
def test_a_refund_that_the_channel_has_no_money_for_is_told(payer: Payer, way: str) -> None:
    """Proves: too little money at a channel raises one alert, however often it is asked again, and the refund goes on once it is there."""
    made = payer.top_up()
    payer.pay(made, way)
    due(payer)
    payer.credited(made)
    collector = payer.order(made)["collector_id"]
    payer.control(f"merchants/{collector}", refundable="0.00")
    asked = payer.merchant.ok("POST", f"/v1/top-ups/{made['topUpId']}/refunds", {"amount": "40"})
    wait_until(lambda: payer.alerts() == ["refund_stuck"], 20)
    payer.sql.fetch("UPDATE refunds SET next_step_at = now() WHERE tenant_id = $1 AND next_step_at IS NOT NULL", payer.merchant.tenant_id)
    payer.control(f"merchants/{collector}", refundable="100.00")
    payer.sql.fetch("UPDATE refunds SET next_step_at = now() WHERE tenant_id = $1 AND next_step_at IS NOT NULL", payer.merchant.tenant_id)
    assert payer.final(asked["refundId"])["status"] == "succeeded"
    assert payer.alerts() == ["refund_stuck"]
    assert payer.merchant.product.verify()["exit"] == 0
