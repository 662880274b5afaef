"""What the cash book takes of payments and gives back with refunds, against fractions that are rounded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.ledger import accounts, cash

AT = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
ACCOUNTS: dict[cash.Channel, tuple[int, int]] = {"wechat": (20, 22), "alipay": (21, 23)}
"""channel → (where its money lies, what it will keep): written down again, so that a change of the code's own table shows"""
CHANNELS: st.SearchStrategy[cash.Channel] = st.sampled_from(["wechat", "alipay"])
FEN = st.integers(1, 400) | st.integers(1, 10_000_000_000)
BPS = st.integers(0, 10_000) | st.sampled_from([0, 38, 60, 100, 5_000, 10_000])
FEES = st.tuples(BPS, BPS)


def yuan(fen: int) -> Decimal:
    """Fen as an amount."""
    return Decimal(fen).scaleb(-2)


def fen_of(amount: Decimal) -> int:
    """An amount as fen, which it must be whole ones of."""
    assert amount * 100 == int(amount * 100)
    return int(amount * 100)


def half_up(value: Fraction) -> int:
    """The oracle's only rounding."""
    return (value + Fraction(1, 2)).__floor__()


def moved(entries: Sequence[cash.Entry]) -> Counter[int]:
    """Debits less credits of each account, in fen."""
    sums: Counter[int] = Counter()
    for entry in entries:
        assert entry.amount > 0
        sums[entry.debit] += fen_of(entry.amount)
        sums[entry.credit] -= fen_of(entry.amount)
    assert sum(sums.values()) == 0
    return sums


def pay(channel: cash.Channel, fen: int, fees: tuple[int, int]) -> list[cash.Entry]:
    """The entries of a payment."""
    return cash.payment_entries("po_1", channel, yuan(fen), fee_bps=fees[0], platform_bps=fees[1], occurred_at=AT)


def sums_of(entries: Sequence[cash.Entry]) -> cash.OrderSums:
    """What the database would add up of an order's entries."""
    by_kind = Counter({kind: Decimal(0) for kind in cash.KINDS})
    for entry in entries:
        by_kind[entry.kind] += entry.amount
    return cash.OrderSums(entries[0].channel, by_kind["payment"], by_kind["channel_fee"], by_kind["platform_fee"], by_kind["refund"])


def refunded(entries: list[cash.Entry], parts: Sequence[int]) -> list[cash.Entry]:
    """An order's entries with these refunds, in fen, one after the other."""
    done = list(entries)
    for number, part in enumerate(parts):
        done += cash.refund_entries("po_1", f"re_{number}", done[0].channel, yuan(part), sums_of(done), occurred_at=AT)
    return done


@st.composite
def cuts(draw: st.DrawFn, *, whole: bool = False) -> tuple[int, list[int]]:
    """An amount in fen, and part refunds of it in their order; whole: all of it."""
    amount = draw(FEN)
    marks = draw(st.lists(st.integers(1, amount), max_size=12, unique=True).map(sorted))
    if whole and amount not in marks:
        marks.append(amount)
    parts = [after - before for before, after in zip([0, *marks], marks, strict=False)]
    return amount, draw(st.permutations(parts))


@given(CHANNELS, FEN, FEES)
def test_a_payment_is_its_gross_less_fees_rounded_once(channel: cash.Channel, fen: int, fees: tuple[int, int]) -> None:
    """Proves: gross into clearing, each fee as the fraction rounded half up, ours giving way, and the merchant is owed the rest."""
    channel_fee = half_up(Fraction(fen * fees[0], 10_000))
    platform_fee = min(half_up(Fraction(fen * fees[1], 10_000)), fen - channel_fee)
    clearing, kept = ACCOUNTS[channel]
    entries = pay(channel, fen, fees)
    expected = {clearing: fen, kept: -channel_fee, 25: -platform_fee, 24: -(fen - channel_fee - platform_fee)}
    assert {account: sum_ for account, sum_ in moved(entries).items() if sum_} == {
        account: sum_ for account, sum_ in expected.items() if sum_
    }
    assert [entry.kind for entry in entries] == [
        kind for kind, amount in (("payment", fen), ("channel_fee", channel_fee), ("platform_fee", platform_fee)) if amount
    ]
    assert {(entry.order_id, entry.refund_id, entry.channel, entry.occurred_at) for entry in entries} == {("po_1", None, channel, AT)}


@given(CHANNELS, cuts(), FEES)
def test_after_every_part_the_sums_are_those_of_the_total(channel: cash.Channel, cut: tuple[int, list[int]], fees: tuple[int, int]) -> None:
    """Proves: after each refund, what was given back of a fee is fee × refunded ÷ paid rounded once; the merchant is never owed less than
    nothing, but for the fee that Alipay keeps."""
    fen, parts = cut
    clearing, kept = ACCOUNTS[channel]
    paid = pay(channel, fen, fees)
    taken = sums_of(paid)
    channel_fee, platform_fee = fen_of(taken.channel_fee), fen_of(taken.platform_fee)
    for count in range(len(parts) + 1):
        back = sum(parts[:count])
        sums = moved(refunded(paid, parts[:count]))
        left = channel_fee - (half_up(Fraction(channel_fee * back, fen)) if channel == "wechat" else 0)
        ours = platform_fee - half_up(Fraction(platform_fee * back, fen))
        assert (sums[clearing], sums[kept], sums[25]) == (fen - back, -left, -ours)
        owed = -sums[24]
        assert owed == fen - back - left - ours
        assert owed >= (0 if channel == "wechat" else -channel_fee)


@given(CHANNELS, cuts(whole=True), FEES)
def test_refunded_whole_everything_taken_is_given_back(channel: cash.Channel, cut: tuple[int, list[int]], fees: tuple[int, int]) -> None:
    """Proves: however a payment is cut, refunds of all of it return exactly what was taken; Alipay's fee stays, and the merchant owes it."""
    fen, parts = cut
    paid = pay(channel, fen, fees)
    sums = {account: sum_ for account, sum_ in moved(refunded(paid, parts)).items() if sum_}
    channel_fee = fen_of(sums_of(paid).channel_fee)
    assert sums == ({} if channel == "wechat" or not channel_fee else {accounts.ALIPAY_FEES: -channel_fee, 24: channel_fee})


@given(CHANNELS, cuts(), FEES, st.randoms(use_true_random=False))
def test_the_order_of_refunds_does_not_matter(
    channel: cash.Channel, cut: tuple[int, list[int]], fees: tuple[int, int], random: object
) -> None:
    """Proves: the same refunds in another order, or one of their sum, move the same sums."""
    fen, parts = cut
    paid = pay(channel, fen, fees)
    other = list(parts)
    random.shuffle(other)  # type: ignore[attr-defined]
    sums = moved(refunded(paid, parts))
    assert sums == moved(refunded(paid, other))
    assert sums == moved(refunded(paid, [sum(parts)] if parts else []))


@given(CHANNELS, cuts(), FEES, st.integers(1, 10_000))
def test_no_more_is_refunded_than_was_paid(channel: cash.Channel, cut: tuple[int, list[int]], fees: tuple[int, int], beyond: int) -> None:
    """Proves: a refund beyond what is left raises, also by one fen; so does one through the other channel."""
    fen, parts = cut
    done = sums_of(refunded(pay(channel, fen, fees), parts))
    with pytest.raises(ValueError, match="more than is left"):
        cash.refund_entries("po_1", "re_x", channel, yuan(fen - sum(parts) + beyond), done, occurred_at=AT)
    with pytest.raises(ValueError, match="was paid through"):
        cash.refund_entries("po_1", "re_x", channel, yuan(1), msgspec.structs.replace(done, channel="other"), occurred_at=AT)


@given(CHANNELS, FEN, st.none() | st.just("po_1"), st.none() | st.just("re_1"))
def test_what_is_released_is_what_was_suspended(channel: cash.Channel, fen: int, order_id: str | None, refund_id: str | None) -> None:
    """Proves: suspense holds the gross and takes no fee; its release leaves nothing behind."""
    held = cash.suspense_entries(channel, yuan(fen), order_id=order_id, occurred_at=AT)
    assert moved(held) == {ACCOUNTS[channel][0]: fen, 26: -fen}
    gone = cash.suspense_release_entries(channel, yuan(fen), order_id=order_id, refund_id=refund_id, occurred_at=AT)
    assert not any(moved([*held, *gone]).values())
    assert [(entry.order_id, entry.refund_id) for entry in (*held, *gone)] == [(order_id, None), (order_id, refund_id)]


@pytest.mark.parametrize("amount", ["0", "-0.01", "0.001", "0.009999999", "NaN", "Infinity", "-Infinity", "1e-10", "sNaN"])
def test_only_whole_fen_are_posted(amount: str) -> None:
    """Proves: nothing, negative amounts, parts of a fen and what is no number are refused at every door."""
    wrong = Decimal(amount)
    original = cash.OrderSums("wechat", Decimal(1), Decimal(0), Decimal(0))
    for make in (
        lambda: cash.payment_entries("po_1", "wechat", wrong, platform_bps=0, occurred_at=AT),
        lambda: cash.refund_entries("po_1", "re_1", "wechat", wrong, original, occurred_at=AT),
        lambda: cash.suspense_entries("wechat", wrong, order_id=None, occurred_at=AT),
        lambda: cash.suspense_release_entries("wechat", wrong, order_id=None, refund_id=None, occurred_at=AT),
    ):
        with pytest.raises(ValueError, match=r"whole fen|not a finite amount|decimals|out of range"):
            make()


@pytest.mark.parametrize("bps", [-1, 10_001])
def test_a_rate_is_a_part_of_the_whole(bps: int) -> None:
    """Proves: no fee is negative or more than the payment."""
    for fees in ((bps, 0), (0, bps)):
        with pytest.raises(ValueError, match="hundredths of a percent"):
            pay("wechat", 100, fees)


def test_by_hand() -> None:
    """Proves: figures that anybody can check. ¥100 at 0.6 % and 1 %, a third refunded, then the rest."""
    paid = pay("wechat", 10_000, (60, 100))
    assert [(entry.kind, entry.amount) for entry in paid] == [
        ("payment", Decimal(100)),
        ("channel_fee", Decimal("0.6")),
        ("platform_fee", Decimal(1)),
    ]
    done = refunded(paid, [3_333, 6_667])[3:]
    assert [(entry.kind, entry.amount) for entry in done] == [
        ("refund", Decimal("33.33")),
        ("channel_fee_return", Decimal("0.20")),  # 0.19998
        ("platform_fee_return", Decimal("0.33")),  # 0.3333
        ("refund", Decimal("66.67")),
        ("channel_fee_return", Decimal("0.40")),
        ("platform_fee_return", Decimal("0.67")),
    ]
    # One fen at 50 % and 50 %: half a fen up is the channel's, and nothing is left for us.
    assert [(entry.kind, entry.amount) for entry in pay("alipay", 1, (5_000, 5_000))] == [
        ("payment", Decimal("0.01")),
        ("channel_fee", Decimal("0.01")),
    ]
