"""What the cash book hashes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.audit import chain
from buffmoney.ledger import cash

POSTING = cash.Posting(
    tenant_id=7,
    seq=3,
    kind="channel_fee",
    debit_account_id=24,
    credit_account_id=22,
    amount=Decimal("0.6"),
    order_id="po_1",
    refund_id=None,
    channel="wechat",
    occurred_at=datetime(2026, 3, 31, 8, 0, 0, 123456, UTC),
    posted_at=datetime(2026, 3, 31, 8, 0, 1, tzinfo=UTC),
)
TEXTS = ("kind", "order_id", "refund_id", "channel")


def test_the_bytes_are_those_that_anybody_can_make() -> None:
    """Proves: blake3 over the hash before, six 8-byte numbers, the amount in nano-units in 16, and length-prefixed texts."""
    numbers = [number.to_bytes(8, "little") for number in (7, 3, 24, 22, 1774944000123456, 1774944001000000)]
    amount = (600_000_000).to_bytes(16, "little")
    texts = [b"channel_fee", b"po_1", None, b"wechat"]
    written = [b"\xff" * 8 if text is None else len(text).to_bytes(8, "little") + text for text in texts]
    assert cash.chained(chain.START, POSTING) == blake3(bytes(32) + b"".join([*numbers, amount, *written])).digest()


@pytest.mark.parametrize("name", cash.Posting.__struct_fields__)
def test_every_field_counts(name: str) -> None:
    """Proves: another value in any one field gives another hash."""
    value = getattr(POSTING, name)
    other = {
        int: lambda: value + 1,
        str: lambda: value + " ",
        type(None): lambda: "",
        Decimal: lambda: value + Decimal("0.000000001"),
        datetime: lambda: value + timedelta(microseconds=1),
    }
    changed = msgspec.structs.replace(POSTING, **{name: other[type(value)]()})
    assert cash.chained(chain.START, changed) != cash.chained(chain.START, POSTING)
    assert cash.chained(b"\1" * 32, POSTING) != cash.chained(chain.START, POSTING)


@given(*(st.tuples(*(st.none() | st.text("ab", max_size=3) for _ in TEXTS)) for _ in range(2)))
def test_two_postings_have_one_hash_only_if_they_are_one(first: tuple[str | None, ...], second: tuple[str | None, ...]) -> None:
    """Proves: no text can be moved from one field into its neighbour without a trace."""
    one, other = (msgspec.structs.replace(POSTING, **dict(zip(TEXTS, values, strict=True))) for values in (first, second))
    assert (cash.chained(chain.START, one) == cash.chained(chain.START, other)) == (first == second)


def test_an_amount_counts_by_its_value() -> None:
    """Proves: the nine decimals that PostgreSQL gives back are the same amount."""
    as_stored = msgspec.structs.replace(POSTING, amount=Decimal("0.600000000"))
    assert cash.chained(chain.START, as_stored) == cash.chained(chain.START, POSTING)


def test_a_time_without_a_zone_is_refused() -> None:
    """Proves: what would depend on the machine is not hashed."""
    with pytest.raises(ValueError, match="without a zone"):
        cash.chained(chain.START, msgspec.structs.replace(POSTING, occurred_at=datetime(2026, 3, 31)))  # noqa: DTZ001
