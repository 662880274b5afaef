"""What the audit log hashes and signs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.audit import chain

ENTRY = chain.Entry(
    tenant_id=7,
    seq=3,
    at=datetime(2026, 3, 31, 8, 0, 0, 123456, UTC),
    actor_kind="api_key",
    actor="key_1",
    action="metric.create",
    object_kind="metric",
    object_id="pages",
    before=None,
    after='{"code":"pages"}',
    request_id="req_1",
)
TEXTS = ("actor_kind", "actor", "action", "object_kind", "object_id", "before", "after", "request_id")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
)


def test_the_bytes_are_those_that_anybody_can_make() -> None:
    """Proves: the hash is blake3 over the hash before, three 8-byte numbers and length-prefixed texts (absent: the largest)."""
    numbers = [(7).to_bytes(8, "little"), (3).to_bytes(8, "little"), (1774944000123456).to_bytes(8, "little")]
    texts = [b"api_key", b"key_1", b"metric.create", b"metric", b"pages", None, b'{"code":"pages"}', b"req_1"]
    written = [b"\xff" * 8 if text is None else len(text).to_bytes(8, "little") + text for text in texts]
    assert chain.chained(chain.START, ENTRY) == blake3(bytes(32) + b"".join(numbers + written)).digest()


@pytest.mark.parametrize("name", chain.Entry.__struct_fields__)
def test_every_field_counts(name: str) -> None:
    """Proves: another value in any one field gives another hash."""
    value = getattr(ENTRY, name)
    other = {int: lambda: value + 1, str: lambda: value + " ", type(None): lambda: "null", datetime: lambda: value.replace(microsecond=1)}
    changed = msgspec.structs.replace(ENTRY, **{name: other[type(value)]()})
    assert chain.chained(chain.START, changed) != chain.chained(chain.START, ENTRY)
    assert chain.chained(b"\1" * 32, ENTRY) != chain.chained(chain.START, ENTRY)


@given(*(st.tuples(*(st.none() | st.text("ab", max_size=3) for _ in TEXTS)) for _ in range(2)))
def test_two_entries_have_one_hash_only_if_they_are_one(first: tuple[str | None, ...], second: tuple[str | None, ...]) -> None:
    """Proves: no text can be moved from one field into its neighbour without a trace."""
    one, other = (msgspec.structs.replace(ENTRY, **dict(zip(TEXTS, values, strict=True))) for values in (first, second))
    assert (chain.chained(chain.START, one) == chain.chained(chain.START, other)) == (first == second)


@given(JSON)
def test_canonical_json_says_the_same_and_does_not_depend_on_order(content: object) -> None:
    """Proves: it reads back as it was, and is a fixed point; keys given in another order give the same text."""
    text = chain.canonical(content)
    assert json.loads(text) == content
    assert chain.canonical(json.loads(text)) == text
    if isinstance(content, dict):
        assert chain.canonical(dict(reversed(content.items()))) == text


def test_what_no_json_can_say_is_refused() -> None:
    """Proves: NaN and infinities do not get in."""
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            chain.canonical({"x": number})


def test_a_signature_is_of_one_tenant_one_number_one_hash_and_one_key() -> None:
    """Proves: none of the four can be exchanged."""
    key, digest = b"k" * 32, b"h" * 32
    mac = chain.sign(key, 1, 2, digest)
    assert chain.is_signed(key, 1, 2, digest, mac)
    for other in ((b"x" * 32, 1, 2, digest), (key, 2, 2, digest), (key, 1, 3, digest), (key, 1, 2, b"x" * 32)):
        assert not chain.is_signed(*other, mac)
