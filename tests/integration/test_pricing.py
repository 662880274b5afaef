"""Rate cards are checked, never change, and price the very next event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.product import CARD, Merchant, assert_problem, event, moment

CARDS = "/v1/rate-cards"


def card(*charges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A rate card's body."""
    return {"name": "card", "currency": "CNY", "charges": list(charges) or [{"metric": "images", "price": "1"}], **fields}


def test_the_next_event_is_rated_by_the_new_card(merchant: Merchant) -> None:
    """Proves: once the answer is there the new price counts for what happens from now on, and the old one for what happened before."""
    before = moment(-60)
    merchant.ok("POST", CARDS, card({"metric": "tokens_input", "price": "0.002"}))
    answer = merchant.usage(event(key="new"), event(key="old", occurredAt=before))
    assert [result["charge"] for result in answer["results"]] == ["2", "1"]
    new, old = (merchant.ok("GET", f"/v1/usage-events/{key}") for key in ("new", "old"))
    assert new["price"]["rateCardId"] != old["price"]["rateCardId"]
    assert (new["price"]["line"], new["price"]["price"], new["price"]["per"]) == (0, "0.002", "1")


def test_the_first_card_prices_the_past(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: usage of last week is priced by a card made today, if it is the first."""
    merchant = new_merchant()
    merchant.grant("100")
    assert merchant.usage(event(occurredAt=moment(-7 * 24 * 3600)))["accepted"] == 1
    assert merchant.ok("GET", CARDS)["data"][0]["effectiveFrom"] is None


def test_the_most_specific_line_wins(merchant: Merchant) -> None:
    """Proves: a line on model and region beats one on model, which beats one on nothing."""
    merchant.ok(
        "POST",
        CARDS,
        card(
            {"metric": "images", "price": "1"},
            {"metric": "images", "price": "2", "match": {"model": "a"}},
            {"metric": "images", "price": "3", "match": {"model": "a", "region": "cn"}},
        ),
    )
    cases = [({}, "1"), ({"model": "b"}, "1"), ({"model": "a"}, "2"), ({"model": "a", "region": "cn", "tier": "x"}, "3")]
    answer = merchant.usage(*(event(metric="images", quantity="1", dimensions=dimensions) for dimensions, _ in cases))
    assert [result["charge"] for result in answer["results"]] == [charge for _, charge in cases]


def test_a_card_for_later(merchant: Merchant) -> None:
    """Proves: a card with effectiveFrom waits for it, and the past is not taken."""
    later = moment(3600)
    made = merchant.ok("POST", CARDS, card({"metric": "tokens_input", "price": "9"}, effectiveFrom=later))
    assert made["effectiveFrom"] == later
    assert merchant.usage(event())["charged"] == "1"
    for when in (moment(-60), "2027-01-01T00:00:00", "soon", "9999-12-31T00:00:00Z"):
        assert_problem(merchant.call("POST", CARDS, card(effectiveFrom=when)), 422)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (card(currency="USD"), "currency_mismatch", "currency"),
        (card({"metric": "unheard_of", "price": "1"}), "unknown_metric", "charges[0].metric"),
        (card({"metric": "images", "price": "-1"}), "invalid_price", "charges[0].price"),
        (card({"metric": "images", "price": "1", "per": "0"}), "invalid_price", "charges[0].per"),
        (card({"metric": "images", "price": 1}), "invalid_body", None),
        (card({"metric": "images", "price": "1", "match": {"model": 4}}), "invalid_body", None),
        (card({"metric": "images", "price": "1", "match": {"model": "a\nb"}}), "invalid_rate_card", "charges[0].match.model"),
        (card({"metric": "images", "price": "1", "tier": []}), "unknown_field", None),
        (card({"metric": "images", "price": "1", "tiers": []}), "invalid_rate_card", "charges[0].tiers"),
        (card({"metric": "images", "price": "1"}, {"metric": "images", "price": "2"}), "invalid_rate_card", "charges[1].match"),
        ({"name": "x", "currency": "CNY", "charges": []}, "invalid_rate_card", "charges"),
        ({"name": "", "currency": "CNY", "charges": [{"metric": "images", "price": "1"}]}, "invalid_rate_card", "name"),
        (card(*({"metric": "images", "price": "1", "match": {"model": str(n)}} for n in range(10_001))), "invalid_rate_card", "charges"),
    ],
)
def test_bad_cards(merchant: Merchant, body: dict[str, Any], code: str, param: str | None) -> None:
    """Proves: each fault has its code and place, and no card is stored."""
    before = merchant.ok("GET", CARDS)
    problem = assert_problem(merchant.call("POST", CARDS, body), 422, code)
    if param is not None:
        assert problem["param"] == param
    assert merchant.ok("GET", CARDS) == before


def test_a_card_comes_back_as_it_was_made(merchant: Merchant) -> None:
    """Proves: lines keep their order, prices their value; a page ends with a cursor to the next."""
    body = card(
        {"metric": "tokens_output", "price": "16.500", "per": "1000000"}, {"metric": "images", "price": "0", "match": {"b": "2", "a": "1"}}
    )
    made = merchant.ok("POST", CARDS, body)
    assert merchant.ok("GET", f"{CARDS}/{made['rateCardId']}") == made
    assert [line["price"] for line in made["charges"]] == ["16.5", "0"]
    first = merchant.client().get(CARDS, params={"limit": "1"}).json()
    assert first["data"][0]["rateCardId"] == made["rateCardId"]
    second = merchant.client().get(CARDS, params={"limit": "1", "cursor": first["nextCursor"]}).json()
    assert (second["data"][0]["name"], second["nextCursor"]) == (CARD["name"], None)
    for other in ("rc_" + "0" * 24, "x"):
        assert_problem(merchant.call("GET", f"{CARDS}/{other}"), 404, "rate_card_not_found")


def test_a_card_sent_twice_is_one_card(merchant: Merchant) -> None:
    """Proves: the same Idempotency-Key gives the first answer again, another body a conflict."""
    first = merchant.ok("POST", CARDS, card(), idempotency_key="card-1")
    assert merchant.ok("POST", CARDS, card(), idempotency_key="card-1") == first
    assert_problem(merchant.call("POST", CARDS, card(name="other"), idempotency_key="card-1"), 409, "idempotency_conflict")
    assert len(merchant.ok("GET", CARDS)["data"]) == 2


def test_a_metric_of_ones_own(merchant: Merchant) -> None:
    """Proves: usage of it is refused before it exists, and taken at once when it is made and priced."""
    one = event(metric="video_seconds", quantity="3")
    assert merchant.usage(one)["results"][0]["code"] == "unknown_metric"
    made = merchant.ok("POST", "/v1/metrics", {"code": "video_seconds", "unit": "second"})
    assert (made["metricId"], made["builtIn"]) == (100, False)
    assert merchant.usage(one)["results"][0]["code"] == "no_price"
    merchant.ok("POST", CARDS, card({"metric": "video_seconds", "price": "2"}))
    assert merchant.usage({**one, "occurredAt": moment()})["charged"] == "6"
    assert [metric["code"] for metric in merchant.ok("GET", "/v1/metrics")["data"]][-1] == "video_seconds"
    assert_problem(merchant.call("POST", "/v1/metrics", {"code": "video_seconds"}), 409, "metric_exists")
    assert_problem(merchant.call("POST", "/v1/metrics", {"code": "images"}), 409, "metric_exists")
    for code in ("Video", "1st", "a-b", "", "a" * 65, "ａ"):
        assert_problem(merchant.call("POST", "/v1/metrics", {"code": code}), 422, "invalid_metric")
