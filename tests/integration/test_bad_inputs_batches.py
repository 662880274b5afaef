"""Batches with repeated, conflicting, late and bad events, and the same keys from several sides."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.product import Merchant, assert_problem, event, moment


def outcomes(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    """Each event's outcome, with the code of a rejection."""
    return [result["code"] if result["outcome"] == "rejected" else result["outcome"] for result in answer["results"]]


def test_the_same_key_twice_in_one_batch(merchant: Merchant) -> None:
    """Proves: the first of two equal events is taken and charged, the second is a duplicate."""
    one = event()
    answer = merchant.usage(one, one)
    assert outcomes(answer) == ["accepted", "duplicate"]
    assert answer["charged"] == "1"
    assert merchant.balance()["available"] == "99"


def test_the_same_key_with_another_payload(merchant: Merchant) -> None:
    """Proves: a key used for something else is a conflict, in the same batch and later, and is charged once."""
    one = event()
    other = {**one, "quantity": "2000"}
    first = merchant.usage(one, other)
    assert outcomes(first) == ["accepted", "conflict"]
    assert first["results"][1]["code"] == "idempotency_conflict"
    assert outcomes(merchant.usage(other, one)) == ["conflict", "duplicate"]
    assert merchant.balance()["available"] == "99"


@pytest.mark.parametrize("field, value", [("metric", "tokens_output"), ("customerExternalId", "other"), ("dimensions", {"model": "x"})])
def test_every_field_counts_for_a_conflict(merchant: Merchant, field: str, value: object) -> None:
    """Proves: metric, customer and dimensions are part of the payload, not only the quantity."""
    one = event()
    merchant.grant("5", "other")
    merchant.usage(one)
    assert outcomes(merchant.usage({**one, field: value})) == ["conflict"]


def test_equal_values_written_differently_are_duplicates(merchant: Merchant) -> None:
    """Proves: the fingerprint is of values: 1000 and 1000.0, a time in another zone, dimensions in another order."""
    one = event(occurredAt=moment(-60), dimensions={"model": "gpt-4o", "region": "cn"})
    merchant.usage(one)
    hour, rest = int(one["occurredAt"][11:13]), one["occurredAt"]
    if hour < 16:
        rest = f"{rest[:11]}{hour + 8:02d}{rest[13:-1]}+08:00"
    again = {**one, "quantity": "1000.0", "occurredAt": rest, "dimensions": {"region": "cn", "model": "gpt-4o"}}
    assert outcomes(merchant.usage(again)) == ["duplicate"]


def test_a_repeated_batch_changes_nothing(merchant: Merchant) -> None:
    """Proves: a whole batch sent again is all duplicates, each with its first charge, and stores nothing."""
    events = [event() for _ in range(50)]
    first = merchant.usage(*events)
    stored, balance = merchant.stored(), merchant.balance()
    again = merchant.usage(*events)
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 50, 0)
    assert [result["charge"] for result in again["results"]] == [result["charge"] for result in first["results"]]
    assert again["charged"] == "0"
    assert (merchant.stored(), merchant.balance()) == (stored, balance)


def test_two_merchants_may_use_the_same_key(merchant: Merchant, new_merchant: Callable[..., Merchant]) -> None:
    """Proves: keys belong to a tenant: another merchant, and the same merchant's live mode, take the same key."""
    one = event(key="shared-key")
    other = new_merchant(billing="pay-as-you-go")
    live = other.live
    live.ok(
        "POST", "/v1/rate-cards", {"name": "live", "currency": "CNY", "charges": [{"metric": "tokens_input", "price": "1", "per": "1"}]}
    )
    for who in (merchant, other, live):
        assert outcomes(who.usage(one)) == ["accepted"]
    live.close()


def test_concurrent_requests_with_the_same_key(merchant: Merchant) -> None:
    """Proves: twenty requests at once with the same event have one effect."""
    one = event()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: merchant.usage(one), range(20)))
    assert Counter(outcome for answer in answers for outcome in outcomes(answer)) == {"accepted": 1, "duplicate": 19}
    assert merchant.balance()["available"] == "99"
    assert merchant.stored()["usage_events"] == 1


def test_501_events_are_too_many(merchant: Merchant) -> None:
    """Proves: 500 events are taken, 501 get 413 and nothing of them is applied."""
    before = merchant.stored()
    assert_problem(merchant.send(*[event(quantity="1") for _ in range(501)]), 413, "too_many_events")
    assert merchant.stored() == before
    assert merchant.usage(*[event(quantity="1") for _ in range(500)])["accepted"] == 500


def test_an_empty_batch(merchant: Merchant) -> None:
    """Proves: a batch without events is an error of its own."""
    assert_problem(merchant.send(), 422, "empty_batch")


def test_one_bad_event_leaves_its_neighbours_alone(merchant: Merchant) -> None:
    """Proves: a bad event gets its own outcome with index, code and param; those around it are applied."""
    answer = merchant.usage(event(), event(quantity="-1"), event(), event(metric="no_such_metric"), event(metric="images"))
    assert outcomes(answer) == ["accepted", "invalid_quantity", "accepted", "unknown_metric", "no_price"]
    assert (answer["accepted"], answer["rejected"], answer["charged"]) == (2, 3, "2")
    assert answer["results"][1]["index"] == 1
    assert answer["results"][1]["param"]
    assert merchant.balance()["available"] == "98"


def test_only_what_was_not_accepted_is_listed(merchant: Merchant) -> None:
    """Proves: without ?results=all the answer names only events that were not accepted."""
    answer = merchant.ok("POST", "/v1/usage-events", {"events": [event(), event(quantity="0"), event()]})
    assert [result["index"] for result in answer["results"]] == [1]
    assert answer["balances"]["acme"] == "98"
    assert str(answer["requestId"]).startswith("req_")


@pytest.mark.parametrize(
    "occurred_at, code",
    [
        (timedelta(seconds=330), "in_future"),
        (timedelta(days=-35, seconds=-60), "too_old"),
        ("2026-03-31T12:00:00", "invalid_time"),
        ("2016-12-31T23:59:60Z", "invalid_time"),
        ("9999-12-31T23:59:59Z", None),
        ("2026-02-30T00:00:00Z", "invalid_time"),
        ("2026-03-31", "invalid_time"),
        ("2026-03-31T24:00:00Z", "invalid_time"),
        ("2026-03-31T12:00:00+25:00", "invalid_time"),
        ("yesterday", "invalid_time"),
        ("", "invalid_time"),
        ("0000-00-00T00:00:00Z", "invalid_time"),
        ("-0001-01-01T00:00:00Z", "invalid_time"),
        ("２０２６-03-31T12:00:00Z", "invalid_time"),
        (1774958400, None),
        (None, "missing_field"),
    ],
)
def test_times_that_are_refused(merchant: Merchant, occurred_at: object, code: str | None) -> None:
    """Proves: ahead by more than five minutes, back by more than 35 days, naive, leap second, year 9999 and nonsense get 422."""
    if isinstance(occurred_at, timedelta):
        occurred_at = moment(occurred_at.total_seconds())
    before = merchant.stored()
    assert_problem(merchant.send(event(occurredAt=occurred_at)), 422, code)
    assert merchant.stored() == before


@pytest.mark.parametrize("offset_s", [240, 0, -35 * 86400 + 300])
def test_times_within_the_window(merchant: Merchant, offset_s: int) -> None:
    """Proves: a little ahead and almost 35 days back are taken."""
    assert outcomes(merchant.usage(event(occurredAt=moment(offset_s)))) == ["accepted"]


@pytest.mark.parametrize("field", ["merchantId", "status", "balance", "charge", "tenantId"])
def test_unknown_fields_are_refused(merchant: Merchant, field: str) -> None:
    """Proves: a field that is not part of the interface gets 422, in an event, a batch, a grant and a hold."""
    before = merchant.stored()
    assert_problem(merchant.send({**event(), field: "x"}), 422, "unknown_field")
    assert_problem(merchant.call("POST", "/v1/usage-events", {"events": [event()], field: "x"}), 422)
    assert_problem(merchant.call("POST", "/v1/customers/acme/grants", {"amount": "1", "currency": "CNY", "kind": "paid", field: "x"}), 422)
    assert_problem(merchant.call("POST", "/v1/customers/acme/holds", {"amount": "1", "ttlSeconds": 60, field: "x"}), 422)
    assert_problem(merchant.call("POST", "/v1/customers", {"externalId": "fresh", field: "x"}), 422)
    assert_problem(merchant.call("POST", "/v1/api-keys", {"name": "x", field: "x"}), 422)
    assert_problem(merchant.call("POST", "/v1/rate-cards", {"name": "x", "currency": "CNY", "charges": [], field: "x"}), 422)
    assert_problem(merchant.call("GET", f"/v1/customers?{field}=x"), 422)
    assert merchant.stored() == before


@pytest.mark.parametrize("field", ["customerExternalId", "idempotencyKey", "metric", "quantity", "occurredAt"])
def test_missing_fields(merchant: Merchant, field: str) -> None:
    """Proves: every field but dimensions is needed, and the error names it."""
    assert_problem(merchant.send(event(**{field: None})), 422, "missing_field")
    assert outcomes(merchant.usage(event(dimensions=None))) == ["accepted"]


def test_a_key_given_twice_in_one_object(merchant: Merchant) -> None:
    """Proves: two quantities in one event are not silently reduced to one."""
    one = json.dumps(event())
    content = ('{"events":[' + one[:-1] + ', "quantity": "7"}]}').encode()
    answer = merchant.call("POST", "/v1/usage-events", content=content)
    assert answer.status_code in (400, 422), answer.text


def test_a_rejection_is_not_remembered(merchant: Merchant) -> None:
    """Proves: an event refused for lack of money is taken under the same key after a top-up."""
    big = event(quantity="150000")
    assert outcomes(merchant.usage(big)) == ["insufficient_balance"]
    merchant.grant("100")
    assert outcomes(merchant.usage(big)) == ["accepted"]
    assert merchant.balance()["available"] == "50"


def test_a_client_that_went_away_gets_its_outcome_later(merchant: Merchant) -> None:
    """Proves: a batch whose sender hung up before the answer is applied at most once, and a repetition tells the first charge."""
    for delay_s in (0, 0.002, 0.02):
        key = secrets.token_hex(8)
        events = [event(key=f"{key}-{number}", quantity="10") for number in range(100)]
        connection = http.client.HTTPConnection("127.0.0.1", merchant.product.port)
        headers = {"Authorization": f"Bearer {merchant.sandbox_key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/usage-events", json.dumps({"events": events}), headers)
        time.sleep(delay_s)
        connection.close()
        again = merchant.usage(*events)
        assert again["accepted"] + again["duplicates"] == 100
        assert {result["charge"] for result in again["results"]} == {"0.01"}
    assert merchant.balance()["available"] == "97"
    assert merchant.stored()["usage_events"] == 300


def test_the_last_microsecond_of_a_shanghai_month(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: an event one microsecond before midnight in Shanghai belongs to the old month, one at midnight to the new."""
    shanghai = ZoneInfo("Asia/Shanghai")
    first = datetime.now(shanghai).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    merchant = new_merchant(billing="pay-as-you-go")
    times = [first - timedelta(microseconds=1), first]
    merchant.usage(*[event(occurredAt=at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")) for at in times])
    last_month = (first - timedelta(days=1)).replace(day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    parameters = {"from": last_month.isoformat(), "to": next_month.isoformat(), "granularity": "month", "timeZone": "Asia/Shanghai"}
    deadline = time.monotonic() + 5
    while True:
        answer = merchant.client().get("/v1/usage", params=parameters)
        assert answer.status_code == 200, answer.text
        rows = {row["start"][:7]: row["quantity"] for row in answer.json()["data"] if row["metric"] == "tokens_input"}
        if len(rows) == 2 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert list(rows.values()) == ["1000", "1000"], rows
