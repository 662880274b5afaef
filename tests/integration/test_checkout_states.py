"""What the checkout says of a payment that did not simply become credits, and how long it waits for a channel: on a real product."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import html5lib
import pytest

from tests.payer import Payer
from tests.product import Merchant, wait_until

QUERIES = "/v3/pay/transactions/out-trade-no/*"
"""where WeChat is asked about an order"""


@dataclass
class Seen:
    """A checkout as its payer sees it. signed: `bm_status` of the way back. choices: what can be started."""

    heading: str
    text: str
    signed: str
    choices: list[str]


def seen(payer: Payer, made: dict[str, Any]) -> Seen:
    """The page in English."""
    answer = payer.client.get(made["checkoutUrl"], params={"lang": "en"})
    assert answer.status_code == 200, answer.text
    document = html5lib.parse(answer.text, namespaceHTMLElements=False)
    back = re.search(r"bm_status=([a-z]+)", answer.text)
    return Seen(
        "".join(document.find(".//h1").itertext()),
        " ".join(" ".join(document.find(".//main").itertext()).split()),
        "" if back is None else back[1],
        [button.get("value") for button in document.iter("button")],
    )


@pytest.fixture
def payer(new_merchant: Callable[..., Merchant]) -> Iterator[Payer]:
    """A customer of a fresh merchant who gives ¥20 with ¥100; the simulator behaves as channels do."""
    one = Payer(new_merchant())
    one.merchant.ok("POST", "/v1/promotions", {"name": "welcome", "buy": "100", "get": "20"})
    yield one
    one.control("refunds", delaySeconds=0, gapSeconds=0)
    one.client.delete(f"{one.simulator}/control/faults")
    one.close()


def top_up(payer: Payer) -> dict[str, Any]:
    return payer.top_up(returnUrl="https://shop.example/wallet")


def assert_whole(payer: Payer) -> None:
    report = payer.merchant.product.verify()
    assert (report["exit"], report["differences"]) == (0, [])


def test_a_payment_that_was_put_aside(payer: Payer) -> None:
    """Proves: whoever has paid another amount is not asked to pay again, neither by the page nor by one that was opened before."""
    made = top_up(payer)
    code = payer.start(made)
    payer.control(f"orders/{payer.order(made)['order_no']}", everywhere=True, amount="1.00")
    assert payer.press(code).is_success
    wait_until(lambda: payer.alerts() == ["wrong_amount"], 20)
    page = seen(payer, made)
    assert (page.heading, page.signed, page.choices) == ("Your payment is being checked", "review", [])
    assert "Please do not pay again" in page.text and "Bonus" not in page.text
    assert payer.client.get(f"{made['checkoutUrl']}/status").json()["status"] == "review"
    begun = payer.client.post(f"{made['checkoutUrl']}/start", data={"product": "precreate"})
    assert (begun.status_code, begun.headers["location"]) == (303, f"/pay/{made['checkoutUrl'].rpartition('/')[2]}")
    assert payer.sql.value("SELECT count(*) FROM payment_orders WHERE top_up_id = $1", made["topUpId"]) == 1


def test_refunded_in_parts_and_whole(payer: Payer) -> None:
    """Proves: a part that is refunded is told beside the credits; once all of it goes back, nobody is told that credits were added."""
    payer.control("refunds", delaySeconds=0, gapSeconds=0)
    made = top_up(payer)
    payer.pay(made)
    payer.credited(made)
    assert payer.refund(made, "40")["status"] == "succeeded"
    page = seen(payer, made)
    assert (page.heading, page.signed) == ("Top-up complete", "credited")
    assert "¥40.00 of it went back to where you paid from." in page.text and "Balance ¥72.00" in page.text
    payer.control("refunds", delaySeconds=3_000, gapSeconds=0)
    payer.merchant.ok("POST", f"/v1/top-ups/{made['topUpId']}/refunds", {"amount": "60"})
    wait_until(lambda: seen(payer, made).heading == "Your payment is being returned", 20)
    page = seen(payer, made)
    assert page.signed == "refunded" and "¥100.00 goes back to where you paid from." in page.text
    assert "Bonus" not in page.text and "Balance" not in page.text and "complete" not in page.text


def test_paid_twice(payer: Payer) -> None:
    """Proves: the second payment of a top-up is told to its payer on the page, as is that it went back."""
    payer.control("refunds", delaySeconds=0, gapSeconds=0)
    made = top_up(payer)
    # Alipay does not know an order before its code is scanned, so it stays payable when the payer changes to WeChat.
    codes = [payer.start(made, "precreate"), payer.start(made, "native")]
    assert payer.press(codes[1]).is_success
    payer.credited(made)
    assert payer.press(codes[0]).is_success
    wait_until(lambda: "You paid twice: the second payment of ¥100.00 went back to you." in seen(payer, made).text, 20)
    page = seen(payer, made)
    assert (page.heading, page.signed) == ("Top-up complete", "credited") and "Balance ¥120.00" in page.text
    assert_whole(payer)


def test_credits_that_could_not_be_given(payer: Payer) -> None:
    """Proves: of a payment whose credits the wallet refuses for good the page says that it went back, not that they are on their way."""
    payer.control("refunds", delaySeconds=0, gapSeconds=0)
    made = top_up(payer)
    for _ in range(100):
        payer.merchant.grant("1")
    payer.pay(made)
    wait_until(lambda: seen(payer, made).heading == "Your payment was returned", 20)
    page = seen(payer, made)
    assert page.signed == "refunded" and "¥100.00 went back" in page.text
    assert Decimal(payer.merchant.balance()["available"]) == 100
    assert payer.alerts() == ["grant_refused"]
    assert_whole(payer)


def test_credited_means_with_the_bonus(payer: Payer) -> None:
    """Proves: while a bonus is still on its way, neither the API nor the page says that the credits are there."""
    made = top_up(payer)
    payer.pay(made)
    payer.credited(made)

    async def as_if_not_delivered(next_at: str) -> None:
        connection = await asyncpg.connect(payer.merchant.product.run["databaseUrl"])
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(
                f"UPDATE wallet_outbox SET result = NULL, applied_at = NULL, next_at = {next_at} "
                "WHERE command_id = (SELECT bonus_grant_id FROM top_ups WHERE top_up_id = $1)",
                made["topUpId"],
            )
        finally:
            await connection.close()

    asyncio.run(as_if_not_delivered("now() + interval '1 hour'"))
    assert payer.status(made) == "paid"
    page = seen(payer, made)
    assert (page.heading, page.signed) == ("Payment received", "paid") and "Balance" not in page.text
    asyncio.run(as_if_not_delivered("now()"))
    payer.credited(made)
    assert Decimal(payer.merchant.balance()["available"]) == 120
    assert "Balance ¥120.00" in seen(payer, made).text


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if it takes longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_a_channel_that_hangs_holds_nobody_up(payer: Payer) -> None:
    """Proves: page and state come while WeChat does not answer, and the payer can change to Alipay; what is paid at both goes back once."""
    payer.control("refunds", delaySeconds=0, gapSeconds=0)
    made = top_up(payer)
    first = payer.start(made)
    payer.control("faults", path=QUERIES, status="timeout", seconds=30, times=1_000)
    for path in ("", "/status"):
        # Another ask is due each time.
        time.sleep(2)
        with within(2.5):
            assert payer.client.get(made["checkoutUrl"] + path).status_code == 200
    with within(5):
        second = payer.start(made, "precreate")
    payer.client.delete(f"{payer.simulator}/control/faults")
    assert payer.press(first).is_success and payer.press(second).is_success
    wait_until(lambda: "went back to you" in seen(payer, made).text, 20)
    assert seen(payer, made).heading == "Top-up complete"
    assert Decimal(payer.merchant.balance()["available"]) == 120
    assert payer.alerts() == ["double_payment"]
    assert_whole(payer)
