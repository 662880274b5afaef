"""Proves: the Rust decoder takes exactly the events that the plain-Python rules take, and turns them into the same message."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from buffmoney import _core
from tests.decode_oracle import Decoded, decode_event, read_message
from tests.workload import START_US

RUNS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TENANT_ID = 42

digits = st.text("0123456789", min_size=1, max_size=22)
quantities = st.one_of(
    st.from_regex(r"[0-9]{1,18}(\.[0-9]{1,9})?", fullmatch=True),
    st.builds(lambda whole, fraction: f"{whole}.{fraction}", digits, digits),
    st.text("0123456789.+-eE_ \u0663\uff11\n", max_size=12),
    st.sampled_from(("0", "-0", "0.000", "NaN", "Infinity", "1e300000", "9" * 25, "00000000000000000000001", "000000000000000001", "")),
)
ids = st.one_of(
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=40),
    st.sampled_from(
        ("", "x" * 255, "x" * 256, "钱" * 85, "钱" * 86, "a\x00b", "a\x1f", "\x7f", "tab\there", 'quote"back\\slash', "😀" * 63)
    ),
)
metrics = st.one_of(
    st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True), st.sampled_from(("", "Tokens", "1a", "a" * 65, "a-b", "é", "a b", "_a"))
)
moments = st.integers(0, 120 * 86_400 * 10**6).map(lambda micros: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))
times = st.one_of(
    st.builds(
        lambda moment, zone, digits: (
            (moment + timedelta(minutes=zone)).strftime("%Y-%m-%dT%H:%M:%S")
            + (f".{moment.microsecond:06d}"[: digits + 1] if digits else "")
            + f"{'-' if zone < 0 else '+'}{abs(zone) // 60:02d}:{abs(zone) % 60:02d}"
        ),
        moments,
        st.integers(-14 * 60, 14 * 60),
        st.integers(0, 6),
    ),
    st.builds(lambda moment: moment.isoformat().replace("+00:00", "Z"), moments),
    st.sampled_from(
        (
            "2026-03-31T15:00:00Z",
            "2026-03-31t15:00:00z",
            "2026-03-31T15:00:00",
            "2026-03-31T23:59:60Z",
            "2026-03-31T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-03-31T15:00:00.1234567Z",
            "2026-03-31T15:00:00.123456789Z",
            "2026-03-31T15:00:00+24:00",
            "2026-03-31T15:00:00+05:60",
            "2026-03-31T15:00:00-00:00",
            "2026-3-31T15:00:00Z",
            "20260331T150000Z",
            "2026-W14-2T15:00:00Z",
            "٢٠٢٦-03-31T15:00:00Z",
            "",
        )
    ),
)
dimensions = st.dictionaries(
    st.sampled_from(("model", "region", "tier", "zone", "项目")),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=12),
    max_size=5,
)


def valid_event(number: int = 0) -> dict[str, Any]:
    """An event with nothing wrong."""
    return {
        "customerExternalId": "acme",
        "idempotencyKey": f"key-{number}",
        "metric": "tokens_input",
        "quantity": "12.5",
        "occurredAt": "2026-03-31T14:59:59.000001Z",
        "dimensions": {"model": "gpt-4o"},
    }


def compare(events: list[dict[str, Any]], content: bytes | None = None) -> None:
    """Decodes and compares every event with the rules, and the message with the one that the rules lead to."""
    content = content or json.dumps({"events": events}).encode()
    decoded = _core.decode_batch(content, TENANT_ID, START_US)
    expected = [decode_event(index, event, START_US) for index, event in enumerate(events)]
    problems = {problem["index"]: problem for problem in json.loads(decoded.problems)}
    wrong = {index: code for index, code in enumerate(expected) if isinstance(code, str)}
    assert {index: problem["code"] for index, problem in problems.items()} == wrong, events
    valid = [event for event in expected if isinstance(event, Decoded)]
    assert (decoded.count, decoded.rejected, decoded.pending) == (len(events), len(wrong), len(valid))
    assert decoded.all_invalid == (not valid)
    if valid:
        message_id = bytes(range(16))
        tenant_id, got_id, reply_to, redelivered, got = read_message(decoded.message(message_id, b"reply:x", True))
        assert (tenant_id, got_id, reply_to, redelivered) == (TENANT_ID, message_id, b"reply:x", True)
        assert [event for event, _, _ in got] == valid
        assert [key for _, key, _ in got] == [event.key_hash(TENANT_ID) for event in valid]
        assert [fingerprint for _, _, fingerprint in got] == [event.fingerprint(TENANT_ID) for event in valid]


@RUNS
@given(quantity=quantities)
def test_quantities(quantity: str) -> None:
    """Proves: a quantity is taken exactly when it is a plain ASCII decimal above zero within the scale."""
    compare([{**valid_event(), "quantity": quantity}])


@RUNS
@given(field=st.sampled_from(("customerExternalId", "idempotencyKey")), text=ids)
def test_ids(field: str, text: str) -> None:
    """Proves: ids are judged by their bytes and characters, and survive unchanged."""
    compare([{**valid_event(), field: text}])


@RUNS
@given(metric=metrics)
def test_metrics(metric: str) -> None:
    """Proves: only names that a metric can have are taken."""
    compare([{**valid_event(), "metric": metric}])


@RUNS
@given(occurred_at=times)
@example("2026-02-24T15:00:00Z")
@example("2026-02-24T14:59:59.999999Z")
@example("2026-03-31T15:05:00Z")
@example("2026-03-31T15:05:00.000001Z")
def test_times(occurred_at: str) -> None:
    """Proves: times are RFC 3339 with a zone, exact to the microsecond, and the window has exact ends."""
    compare([{**valid_event(), "occurredAt": occurred_at}])


@RUNS
@given(given_dimensions=dimensions, shuffled=st.randoms(use_true_random=False))
def test_dimensions_have_one_canonical_form(given_dimensions: dict[str, str], shuffled: Any) -> None:
    """Proves: the order in which dimensions are written does not matter, their text does."""
    pairs = list(given_dimensions.items())
    shuffled.shuffle(pairs)
    compare([{**valid_event(), "dimensions": dict(pairs)}])


@RUNS
@given(st.lists(st.tuples(quantities, times, dimensions), min_size=1, max_size=12))
def test_whole_batches(parts: list[tuple[str, str, dict[str, str]]]) -> None:
    """Proves: good and bad events in one batch keep their places. An event has at most one bad field here."""
    events = []
    for number, (quantity, occurred_at, of_event) in enumerate(parts):
        event = {**valid_event(number), "dimensions": of_event}
        events.append({**event, "quantity": quantity} if number % 2 else {**event, "occurredAt": occurred_at})
    compare(events)


@RUNS
@given(number=st.integers(0, 30), escape=st.booleans(), spaces=st.booleans())
def test_writing_style_does_not_matter(number: int, escape: bool, spaces: bool) -> None:
    """Proves: escapes and white space of JSON change nothing."""
    event = {**valid_event(number), "customerExternalId": '顾客 \u00e9"\\/\U0001f600', "dimensions": {"model": "模型"}}
    text = json.dumps({"events": [event]}, ensure_ascii=escape, indent=2 if spaces else None)
    compare([event], text.encode())


@pytest.mark.parametrize("field", list(valid_event()))
@pytest.mark.parametrize("value", [None, 5, 1.5, True, [], {}, ["x"], {"a": {"b": "c"}}, {"a": 1}])
def test_wrong_types(field: str, value: Any) -> None:
    """Proves: a field of another type is refused, with the index and a code, and never crashes the decoder."""
    if (field == "dimensions" and value == {}) or (field == "quantity" and isinstance(value, int | float) and value is not True):
        return
    decoded = _core.decode_batch(json.dumps({"events": [{**valid_event(), field: value}]}).encode(), TENANT_ID, START_US)
    assert decoded.rejected == 1
    (problem,) = json.loads(decoded.problems)
    assert problem["index"] == 0
    assert problem["code"]


@RUNS
@given(digits=st.one_of(quantities, st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)))
def test_quantities_as_json_numbers(digits: str) -> None:
    """Proves: a quantity may be a JSON number as well; its digits are read as they stand, never as a float."""
    try:
        number = json.loads(digits, parse_constant=lambda name: 1 / 0, parse_int=str, parse_float=str)
    except (ValueError, ZeroDivisionError):
        return
    if not isinstance(number, str) or digits != digits.strip():
        return
    content = json.dumps({"events": [{**valid_event(), "quantity": "@"}]}).replace('"@"', digits).encode()
    if math.isinf(float(digits)):
        with pytest.raises(_core.BatchError, match="malformed_json"):
            _core.decode_batch(content, TENANT_ID, START_US)
        return
    expected = decode_event(0, {**valid_event(), "quantity": digits}, START_US)
    decoded = _core.decode_batch(content, TENANT_ID, START_US)
    assert decoded.rejected == isinstance(expected, str)
    if isinstance(expected, Decoded):
        assert read_message(decoded.message(bytes(16), b"", False))[4][0][0].quantity == expected.quantity


@RUNS
@given(content=st.binary(max_size=200))
def test_any_bytes_are_answered(content: bytes) -> None:
    """Proves: whatever bytes come, the decoder decodes or raises BatchError with a status of the 400s."""
    try:
        _core.decode_batch(content, TENANT_ID, START_US)
    except _core.BatchError as refusal:
        status, code, _, _ = refusal.args
        assert 400 <= status < 500
        assert code


@RUNS
@given(place=st.integers(0, 400), byte=st.integers(0, 255))
def test_one_changed_byte_is_answered(place: int, byte: int) -> None:
    """Proves: a good body with one byte changed is either still JSON, judged by the same rules, or refused as malformed."""
    content = bytearray(json.dumps({"events": [valid_event(), valid_event(1)]}).encode())
    content[place % len(content)] = byte
    try:
        parsed = json.loads(bytes(content).decode())
        parsed_ok = isinstance(parsed, dict) and isinstance(parsed.get("events"), list)
    except (ValueError, RecursionError):
        parsed_ok = False
    try:
        decoded = _core.decode_batch(bytes(content), TENANT_ID, START_US)
    except _core.BatchError as refusal:
        assert not parsed_ok or parsed.keys() != {"events"} or refusal.args[0] in (400, 422)
        return
    assert parsed_ok
    assert decoded.count == len(parsed["events"])
