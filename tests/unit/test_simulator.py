"""The pure parts of the payment simulator: money, the channel's time, ZIPs with GBK names, keys, and bills' details."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffmoney.base.clock import FixedClock, to_us
from buffmoney.simulator import keys
from buffmoney.simulator.alipay.bills import cell
from buffmoney.simulator.alipay.gbk_zip import pack
from buffmoney.simulator.channel_time import SHANGHAI, beijing, day_bounds, day_of, parse_beijing, parse_day, parse_rfc3339, rfc3339
from buffmoney.simulator.fen import fee, fee_returned, parse_yuan, yuan
from buffmoney.simulator.store import Store, StoreInUse
from buffmoney.simulator.wechat import bills
from buffmoney.simulator.world import World


@given(st.integers(0, 99_999_999_999))
def test_yuan_and_back(fen: int) -> None:
    assert parse_yuan(yuan(fen)) == fen
    assert yuan(-fen) == ("-" if fen else "") + yuan(fen)


@pytest.mark.parametrize(
    "text", ["", "1.001", "-1", "+1", " 1", "1 ", "1e2", "01", ".5", "1.", "１", "٣", "NaN", "1_0", 1, 1.5, None, "9" * 10]
)
def test_what_is_no_amount(text: object) -> None:
    assert parse_yuan(text) is None


@given(st.integers(1, 10_000_000), st.data())
def test_parts_give_back_exactly_the_fee(amount: int, data: st.DataObject) -> None:
    """Proves: whatever the parts of a whole refund, no part gives back a negative fee and together they give back what was taken.

    Some parts are closed again in between and count no longer.
    """
    parts: list[tuple[int, int]] = []
    closings = data.draw(st.integers(0, 3))
    while (refunded := sum(part for part, _ in parts)) < amount:
        part = data.draw(st.integers(1, amount - refunded)) if data.draw(st.booleans()) else amount - refunded
        back = fee_returned(amount, refunded, sum(back for _, back in parts), part)
        assert back >= 0
        parts.append((part, back))
        if closings and data.draw(st.booleans()):
            closings -= 1
            parts.pop(data.draw(st.integers(0, len(parts) - 1)))
    assert sum(back for _, back in parts) == fee(amount)
    with pytest.raises(ValueError, match="more than"):
        fee_returned(amount, amount, fee(amount), 1)


@pytest.mark.parametrize(("fen", "expected"), [(1, 0), (83, 0), (84, 1), (250, 2), (1_000, 6), (10_000, 60)])
def test_fees_are_rounded_half_up(fen: int, expected: int) -> None:
    assert fee(fen) == expected


def test_the_channels_day_begins_in_shanghai() -> None:
    start, end = day_bounds(date(2026, 3, 1))
    assert rfc3339(start) == "2026-03-01T00:00:00+08:00"
    assert beijing(end - 1) == "2026-03-01 23:59:59"
    assert (day_of(start), day_of(start - 1), day_of(end - 1)) == (date(2026, 3, 1), date(2026, 2, 28), date(2026, 3, 1))
    moment = to_us(datetime(2026, 3, 1, 7, 8, 9, tzinfo=SHANGHAI))
    assert parse_rfc3339(rfc3339(moment)) == moment == parse_beijing(beijing(moment))


@pytest.mark.parametrize(
    "text", ["2026-03-01T00:00:00Z", "2026-03-01T00:00:00+00:00", "2026-03-01T00:00:00.5+08:00", "2026-02-30T00:00:00+08:00", 1]
)
def test_what_is_no_time(text: object) -> None:
    assert parse_rfc3339(text) is None
    assert parse_beijing(text) is None
    assert parse_day(text) is None


def test_zips_are_named_in_gbk_without_a_flag() -> None:
    """Proves: every reader that is told GBK finds name and content, and none is told UTF-8 by a flag."""
    packed = pack([("账单(汇总).csv", b""), ("账单.csv", "内容".encode("gbk") * 1_000)], datetime(2026, 3, 1, 7, 8, 9, tzinfo=SHANGHAI))
    with zipfile.ZipFile(io.BytesIO(packed), metadata_encoding="gbk") as archive:
        assert archive.namelist() == ["账单(汇总).csv", "账单.csv"]
        assert archive.testzip() is None
        assert archive.read("账单.csv").decode("gbk") == "内容" * 1_000
        assert archive.infolist()[0].date_time == (2026, 3, 1, 7, 8, 8)
        assert all(not one.flag_bits & 0x800 for one in archive.infolist())
    with zipfile.ZipFile(io.BytesIO(packed)) as misread:
        assert "账单" not in misread.namelist()[0]


def test_texts_cannot_break_a_bill() -> None:
    assert bills.one_line("a,`\r\nb\u2028c") == "a,' b c"
    assert cell("a,b\nc") == "a，b c"


def test_bill_columns() -> None:
    assert [len(bills.columns(kind)) for kind in ("ALL", "SUCCESS", "REFUND")] == [27, 20, 29]


def test_signatures_and_keys() -> None:
    key = keys.new_private_key()
    pem = keys.public_pem(key.public_key())
    signature = keys.sign(key, b"message")
    assert keys.verify(keys.read_public(pem), b"message", signature)
    for message, wrong in ((b"messagf", signature), (b"message", signature[:-4]), (b"message", ""), (b"message", "*"), (b"message", "é")):
        assert not keys.verify(keys.read_public(pem), message, wrong)
    for text in ("", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", None, 5, b"x"):
        with pytest.raises(ValueError, match="public key"):
            keys.read_public(text)


def test_one_world_at_a_time_and_whole_transactions(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreInUse, match="--data-dir"):
        Store(tmp_path)
    with pytest.raises(RuntimeError), store.transaction():
        store.set_setting("a", 1)
        with store.transaction():
            store.set_setting("b", 2)
        raise RuntimeError
    assert (store.setting("a", None), store.setting("b", None)) == (None, None)
    store.close()
    again = Store(tmp_path)
    again.close()


def test_the_clock_is_kept(tmp_path: Path) -> None:
    clock = FixedClock(1_000_000_000)
    world = World.open(tmp_path, clock)
    world.clock.advance(5, -400)
    assert (world.clock.now_us(), world.clock.signing_s()) == (1_005_000_000, 600)
    with pytest.raises(ValueError, match="back"):
        world.clock.advance(-1, 0)
    first = world.keyring.active("wechat", world.clock.now_us())
    world.store.close()
    world = World.open(tmp_path, clock)
    assert world.clock.now_us() == 1_005_000_000
    assert [key.key_id for key in world.keyring.active("wechat", world.clock.now_us())] == [key.key_id for key in first]
    world.store.close()
