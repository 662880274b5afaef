"""The cash book against those who own the database, and against our own mistakes: whatever is off, `buffmoney ledger verify` says so."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec
import pytest

from buffmoney.audit import chain, log
from buffmoney.audit.verify import NotedHead
from buffmoney.base.clock import SystemClock, format_time, to_us
from buffmoney.ledger import cash
from buffmoney.ledger.cash_verify import Report, read_noted, verify_on
from buffmoney.merchants import merchants
from tests.integration.partition import Room
from tests.product import COMMAND

AT = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
LAST = 14
"""postings of the room's tenant"""
OTHERS = 3
"""postings of another tenant"""
COLUMNS = "kind, debit_account_id, credit_account_id, amount, order_id, refund_id, channel, occurred_at, posted_at, chain_hash"

TAMPERING = {
    "an amount is changed": ("UPDATE cash_postings SET amount = amount + 1 WHERE tenant_id = $1 AND seq = 1", "cash_chain", 1),
    "a kind and its accounts are changed": (
        "UPDATE cash_postings SET kind = 'platform_fee', credit_account_id = 25, order_id = 'po_x' WHERE tenant_id = $1 AND seq = 2",
        "cash_chain",
        2,
    ),
    "an order is changed": ("UPDATE cash_postings SET order_id = 'po_x' WHERE tenant_id = $1 AND seq = 1", "cash_chain", 1),
    "a refund is changed": ("UPDATE cash_postings SET refund_id = 're_x' WHERE tenant_id = $1 AND seq = 7", "cash_chain", 7),
    "when it happened is changed": (
        "UPDATE cash_postings SET occurred_at = occurred_at + interval '1 us' WHERE tenant_id = $1 AND seq = 3",
        "cash_chain",
        3,
    ),
    "when it was posted is changed": (
        "UPDATE cash_postings SET posted_at = posted_at + interval '1 us' WHERE tenant_id = $1 AND seq = 3",
        "cash_chain",
        3,
    ),
    "a time that no datetime can hold is put in": (
        "UPDATE cash_postings SET occurred_at = '4000-01-01 BC' WHERE tenant_id = $1 AND seq = 3",
        "cash_chain",
        3,
    ),
    "a hash is changed": ("UPDATE cash_postings SET chain_hash = sha256('x') WHERE tenant_id = $1 AND seq = 3", "cash_chain", 3),
    "the newest posting is changed": (
        f"UPDATE cash_postings SET amount = amount + 1 WHERE tenant_id = $1 AND seq = {LAST}",
        "cash_chain",
        LAST,
    ),
    "a posting is deleted": ("DELETE FROM cash_postings WHERE tenant_id = $1 AND seq = 3", "cash_gap", 4),
    "the first posting is deleted": ("DELETE FROM cash_postings WHERE tenant_id = $1 AND seq = 1", "cash_gap", 2),
    "a posting is deleted and the others move up": (
        f"""WITH gone AS (DELETE FROM cash_postings WHERE tenant_id = $1 AND seq = 2),
        moved AS (DELETE FROM cash_postings WHERE tenant_id = $1 AND seq > 2 RETURNING *)
        INSERT INTO cash_postings (tenant_id, seq, {COLUMNS}) SELECT tenant_id, seq + 99, {COLUMNS} FROM moved""",
        "cash_gap",
        102,
    ),
    "two postings change places": (
        f"""UPDATE cash_postings a SET kind = b.kind, debit_account_id = b.debit_account_id, credit_account_id = b.credit_account_id,
        posted_at = b.posted_at, chain_hash = b.chain_hash
        FROM cash_postings b WHERE a.tenant_id = $1 AND b.tenant_id = $1 AND a.seq + b.seq = {2 * LAST - 1} AND b.seq >= {LAST - 1}""",
        "cash_chain",
        LAST - 1,
    ),
    "a posting is doubled": (
        f"""INSERT INTO cash_postings (tenant_id, seq, {COLUMNS})
        SELECT tenant_id, {LAST + 1}, {COLUMNS} FROM cash_postings WHERE tenant_id = $1 AND seq = {LAST}""",
        "cash_chain",
        LAST + 1,
    ),
    "the tail is cut off": (f"DELETE FROM cash_postings WHERE tenant_id = $1 AND seq >= {LAST - 1}", "cash_tail", LAST),
    "everything is deleted": ("DELETE FROM cash_postings WHERE tenant_id = $1", "cash_tail", LAST),
    "the tail is cut off and the head moved back": (
        f"""WITH gone AS (DELETE FROM cash_postings WHERE tenant_id = $1 AND seq = {LAST}), previous AS (
            SELECT seq, chain_hash FROM cash_postings WHERE tenant_id = $1 AND seq = {LAST - 1})
        UPDATE cash_heads h SET seq = p.seq, chain_hash = p.chain_hash FROM previous p WHERE h.tenant_id = $1""",
        "cash_head",
        LAST - 1,
    ),
    "the book begins anew": (
        """WITH gone AS (DELETE FROM cash_postings WHERE tenant_id = $1)
        UPDATE cash_heads SET seq = 0, chain_hash = decode(repeat('00', 32), 'hex') WHERE tenant_id = $1""",
        "cash_head",
        0,
    ),
    "the book and its head are gone": (
        "WITH gone AS (DELETE FROM cash_postings WHERE tenant_id = $1) DELETE FROM cash_heads WHERE tenant_id = $1",
        "cash_head",
        0,
    ),
    "a head is forged": ("UPDATE cash_heads SET mac = sha256('x') WHERE tenant_id = $1", "cash_head", LAST),
    "another tenant's head is put in place": (
        """UPDATE cash_heads h SET seq = o.seq, chain_hash = o.chain_hash, mac = o.mac FROM cash_heads o
        WHERE h.tenant_id = $1 AND o.tenant_id <> $1 AND o.seq > 0""",
        "cash_head",
        OTHERS,
    ),
    "the audit log's signature is put in place": (
        "UPDATE cash_heads h SET mac = a.mac FROM audit_heads a WHERE h.tenant_id = $1 AND a.tenant_id = $1",
        "cash_head",
        LAST,
    ),
}
"""what is done → the statement, the kind of difference that is found first, and at which posting"""


def payment(order_id: str, amount: str = "100", channel: cash.Channel = "wechat") -> list[cash.Entry]:
    """At 0.6 % for the channel and 1 % for us."""
    return cash.payment_entries(order_id, channel, Decimal(amount), platform_bps=100, occurred_at=AT)


def part(order_id: str, refund_id: str, amount: str, before: str = "0") -> list[cash.Entry]:
    """A refund of an order of ¥100."""
    sums = cash.OrderSums("wechat", Decimal(100), Decimal("0.6"), Decimal(1), Decimal(before))
    return cash.refund_entries(order_id, refund_id, "wechat", Decimal(amount), sums, occurred_at=AT)


async def post(place: Room, entries: Sequence[cash.Entry], tenant_id: int | None = None) -> int:
    """Entries in a transaction of their own."""
    async with place.owner.transaction():
        by = log.Author.system(place.settings, SystemClock(), "test")
        return await cash.post(place.owner, by, tenant_id or place.tenant_id, entries)


@pytest.fixture(autouse=True)
async def book_alone(place: Room) -> None:
    """The cash book without the orders and refunds it is compared with, which most of this is not about."""
    await place.owner.execute("DROP TABLE payment_orders, refunds CASCADE")


@pytest.fixture
async def there(place: Room, book_alone: None) -> AsyncIterator[Room]:
    """Two payments, two part refunds and two suspended amounts, one of them released; and a payment of another tenant."""
    by = log.Author.system(place.settings, SystemClock(), "test")
    made = await merchants.create(place.owner, place.settings.api_key_pepper, SystemClock(), "Another", by=by)
    await post(place, payment("po_1"))
    await post(place, payment("po_2", "30", "alipay"))
    await post(place, part("po_1", "re_1", "33.33"))
    await post(place, [one for one in part("po_1", "re_2", "10", "33.33") if one.amount])
    await post(place, cash.suspense_entries("alipay", Decimal(7), order_id=None, occurred_at=AT))
    await post(place, cash.suspense_release_entries("alipay", Decimal(7), order_id=None, refund_id=None, occurred_at=AT))
    await post(place, payment("po_1"), await merchants.tenant_id_of(place.owner, made.merchant_id, "live"))
    assert await place.owner.fetchval("SELECT seq FROM cash_heads WHERE tenant_id = $1", place.tenant_id) == LAST
    yield place


async def after(there: Room, *statements: str, against: Sequence[NotedHead] = ()) -> Report:
    """What verify says once these statements were run past every trigger; nothing of it stays."""
    connection = await asyncpg.connect(there.settings.database_url)
    try:
        doing = connection.transaction(isolation="repeatable_read")
        await doing.start()
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement, *([there.tenant_id] if "$1" in statement else []))
        report = await verify_on(connection, there.settings.cash_key, against=against)
        await doing.rollback()
        return report
    finally:
        await connection.close()


# ---------------------------------------------------------------- tampering


async def test_an_untouched_book_is_whole(there: Room) -> None:
    """Proves: verify finds nothing where nothing was done, and says what it looked at, by mode."""
    report = await after(there)
    assert (report.postings, report.difference_count, report.differences) == (LAST + OTHERS, 0, [])
    assert {head.sequence for head in report.heads} == {LAST, OTHERS}
    assert report.balances["live"] == {
        "wechat_clearing": "100",
        "wechat_fees": "0.6",
        "merchant_payable": "98.4",
        "platform_fees": "1",
    }
    assert report.balances["sandbox"]["payment_suspense"] == "0"


@pytest.mark.parametrize("what", TAMPERING)
async def test_tampering_is_found(there: Room, what: str) -> None:
    """Proves: each way of changing the book is found, at the posting where it was done and in the right tenant."""
    statement, kind, seq = TAMPERING[what]
    report = await after(there, statement)
    first = report.differences[0]
    assert (first.what, first.tenant_id, first.sequence) == (kind, there.tenant_id, seq), report.differences
    assert {one.tenant_id for one in report.differences} == {there.tenant_id}
    assert (await after(there)).difference_count == 0


@pytest.mark.parametrize("place_", range(1, LAST + 1))
async def test_a_changed_posting_with_right_hashes_needs_the_secret(there: Room, place_: int) -> None:
    """Proves: who rewrites a posting and every hash after it, as anybody can, still lacks the signature."""
    rows = await there.owner.fetch(
        "SELECT *, (extract(epoch FROM occurred_at) * 1000000)::bigint AS occurred_us, "
        "(extract(epoch FROM posted_at) * 1000000)::bigint AS posted_us FROM cash_postings WHERE tenant_id = $1 ORDER BY seq",
        there.tenant_id,
    )
    before, statements = chain.START, []
    for row in rows:
        posting = cash.Posting(**{name: row[name] for name in cash.Posting.__struct_fields__})
        if posting.seq == place_:
            posting = msgspec.structs.replace(posting, posted_us=to_us(AT))
        before = chain_hash = cash.chained(before, posting)
        statements.append(
            f"UPDATE cash_postings SET posted_at = '{format_time(posting.posted_us)}', chain_hash = '\\x{chain_hash.hex()}' "
            f"WHERE tenant_id = $1 AND seq = {posting.seq}"
        )
    forged = await after(there, *statements, f"UPDATE cash_heads SET chain_hash = '\\x{before.hex()}' WHERE tenant_id = $1")
    assert [one.what for one in forged.differences] == ["cash_head"]
    unsigned = await after(there, *statements)
    assert [(one.what, one.sequence) for one in unsigned.differences] == [("cash_tail", LAST)]


async def test_an_old_state_put_back_shows_against_what_was_noted(there: Room) -> None:
    """Proves: a cut-off tail under a head that was truly signed once is found by a report that was kept elsewhere."""
    old = await there.owner.fetchrow("SELECT seq, chain_hash, mac FROM cash_heads WHERE tenant_id = $1", there.tenant_id)
    assert old is not None
    await post(there, payment("po_9"))
    noted = (await after(there)).heads
    back = (
        f"DELETE FROM cash_postings WHERE tenant_id = $1 AND seq > {old['seq']}",
        f"UPDATE cash_heads SET seq = {old['seq']}, chain_hash = '\\x{old['chain_hash'].hex()}', mac = '\\x{old['mac'].hex()}' "
        "WHERE tenant_id = $1",
    )
    assert (await after(there, *back)).differences == [], "the limit that is documented"
    found = await after(there, *back, against=noted)
    assert [(one.what, one.tenant_id, one.sequence) for one in found.differences] == [("cash_noted", there.tenant_id, LAST + 3)]
    # The book that went on in an honest way has what was noted.
    await post(there, payment("po_10"))
    assert (await after(there, against=noted)).differences == []
    other = await after(there, against=[NotedHead(there.tenant_id, 2, "00" * 32)])
    assert [(one.what, one.sequence) for one in other.differences] == [("cash_noted", 2)]


async def test_nothing_is_written_after_a_forged_head_or_an_unsigned_posting(there: Room) -> None:
    """Proves: what is not ours is not signed over by the next payment, which is refused instead."""
    await there.owner.execute(
        f"""INSERT INTO cash_postings (tenant_id, seq, {COLUMNS})
        SELECT tenant_id, {LAST + 1}, {COLUMNS} FROM cash_postings WHERE tenant_id = $1 AND order_id IS NULL AND kind = 'suspense'""",
        there.tenant_id,
    )
    with pytest.raises(cash.CashBookBrokenError, match="beyond its head"):
        await post(there, payment("po_3"))
    await there.owner.execute(f"UPDATE cash_heads SET seq = {LAST + 1}, chain_hash = sha256('x') WHERE tenant_id = $1", there.tenant_id)
    with pytest.raises(cash.CashBookBrokenError, match="not signed"):
        await post(there, payment("po_3"))
    with pytest.raises(cash.CashBookBrokenError, match="missing"):
        await post(there, payment("po_3"), 999_999)


async def test_the_command_says_so(there: Room, tmp_path: Path) -> None:
    """Proves: `ledger verify` shows the accounts and exits with 0, and with 1 once the tail is cut off."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "DATABASE_URL": there.settings.database_url,
        "REDIS_URL": there.settings.redis_url,
        "BUFFMONEY_SECRET": there.settings.secret,
        "BUFFMONEY_DATA_DIR": str(tmp_path),
    }

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(
            subprocess.run, [COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout

    code, text = await run("ledger", "verify")
    assert (code, f"{LAST + OTHERS} cash postings" in " ".join(text.split())) == (0, True)
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert lines["cash"] == ["book,", "CNY", "live", "sandbox"]
    assert (lines["wechat_clearing"], lines["merchant_payable"]) == (["100.00", "56.67"], ["98.40", "85.28"])
    code, text = await run("ledger", "verify", "--json")
    report = json.loads(text)
    assert (code, report["cashPostings"], report["cashBalances"]["live"]["wechat_clearing"]) == (0, LAST + OTHERS, "100")
    noted = tmp_path / "noted.json"
    noted.write_text(text)
    assert (await run("ledger", "verify", "--against", str(noted)))[0] == 0
    assert (await run("ledger", "verify", "--against", "nowhere.json"))[0] == 1

    await there.owner.execute("ALTER TABLE cash_postings DISABLE TRIGGER ALL")
    await there.owner.execute("DELETE FROM cash_postings WHERE tenant_id = $1 AND seq = $2", there.tenant_id, LAST)
    code, text = await run("ledger", "verify", "--json")
    report = json.loads(text)
    assert (code, report["ok"], [one["what"] for one in report["differences"]]) == (1, False, ["cash_tail"])
    code, text = await run("ledger", "verify", "--against", str(noted), "--json")
    assert (code, [one["what"] for one in json.loads(text)["differences"]]) == (1, ["cash_tail", "cash_noted"])
    code, text = await run("ledger", "verify")
    told = " ".join(text.split())
    assert f"cash_tail (tenant {there.tenant_id}, seq {LAST}): the cash book ends at posting {LAST - 1}, its head says {LAST}" in told
    assert code == 1


def test_a_report_that_is_none_is_refused() -> None:
    """Proves: heads are read from our own report alone."""
    for text in (b"", b"[]", b'{"heads": []}', b'{"cashHeads": [{"tenantId": 1}]}', b"\xff"):
        with pytest.raises(ValueError, match="not a report"):
            read_noted(text)


# ---------------------------------------------------------------- mistakes of ours: chained and signed, and wrong

_FEE = cash.Entry("channel_fee", 24, 22, Decimal("0.6"), "po_9", None, "wechat", AT)
_BACK = cash.Entry("refund", 24, 20, Decimal(50), "po_9", "re_9", "wechat", AT)
_OURS = cash.Entry("platform_fee", 24, 25, Decimal("99.41"), "po_9", None, "wechat", AT)
_HELD = cash.suspense_entries("wechat", Decimal(5), order_id="po_9", occurred_at=AT)
_GONE = cash.suspense_release_entries("wechat", Decimal("5.01"), order_id="po_9", refund_id=None, occurred_at=AT)
_UNKNOWN = cash.suspense_release_entries("wechat", Decimal(7), order_id=None, refund_id=None, occurred_at=AT)

MISTAKES: dict[str, tuple[list[cash.Entry], str]] = {
    "a fee without a payment": ([_FEE], "po_9: it has fees or refunds, and no payment"),
    "a refund before its payment": ([_BACK, *payment("po_9")], "po_9: it has fees or refunds from before its payment"),
    "fees above the payment": ([payment("po_9")[0], _FEE, _OURS], "po_9: fees of 0.6 and 99.41 were taken of 100"),
    "a refund above the payment": (
        [*payment("po_9"), *part("po_9", "re_9", "100"), msgspec.structs.replace(_BACK, amount=Decimal("0.01"), refund_id="re_10")],
        "po_9: 100.01 was refunded of 100",
    ),
    "a refund that returns no fee": (
        [*payment("po_9"), _BACK],
        "po_9: 0 of the channel's fee was given back, to be given back was 0.3",
    ),
    "a refund that keeps our fee": (
        [*payment("po_9"), *part("po_9", "re_9", "50")[:2]],
        "po_9: 0 of our fee was given back, to be given back was 0.5",
    ),
    "two refunds by the same sums": (
        [*payment("po_9"), *part("po_9", "re_9", "0.83"), *part("po_9", "re_10", "0.83")],
        "po_9: 0 of the channel's fee was given back, to be given back was 0.01",
    ),
    "two channels": (
        [*payment("po_9"), msgspec.structs.replace(_HELD[0], debit=21, channel="alipay")],
        "po_9: its postings name two channels",
    ),
    "more released than suspended": ([*_HELD, *_GONE], "po_9: 5.01 left suspense, and 5 went in"),
    "another channel's unknown money released": (_UNKNOWN, "unknown orders of wechat: 7 left suspense, and 0 went in"),
}
"""what is wrong → what was posted, and what verify says of it"""


@pytest.mark.parametrize("what", MISTAKES)
async def test_a_mistake_of_ours_is_found(there: Room, what: str) -> None:
    """Proves: an order that breaks the rules of fees and refunds is found though its chain and its signature hold."""
    entries, detail = MISTAKES[what]
    await post(there, entries)
    report = await after(there)
    assert [(one.what, one.tenant_id, one.detail) for one in report.differences] == [("cash_order", there.tenant_id, detail)]


# ---------------------------------------------------------------- the other books

STAND_IN = """
CREATE SCHEMA stand_in;
SET LOCAL search_path = stand_in, public;
CREATE TABLE payment_orders (tenant_id bigint, order_id text, channel text, amount numeric(38, 9), status text);
CREATE TABLE refunds (tenant_id bigint, refund_id text, order_id text, amount numeric(38, 9), status text, top_up_id text,
    cause text DEFAULT 'double_payment', command_id uuid, paid_taken numeric(38, 9) DEFAULT 0, bonus_taken numeric(38, 9) DEFAULT 0);
CREATE TABLE top_ups (tenant_id bigint, top_up_id text, paid_order_id text, bonus_granted numeric(38, 9), paid_grant_id uuid,
    bonus_grant_id uuid);
CREATE TABLE postings (tenant_id bigint, kind smallint, reference uuid, grant_id uuid, amount numeric(38, 9));
CREATE TABLE wallet_outbox (tenant_id bigint, command_id uuid, source text, applied_at timestamptz, refused text);
CREATE TABLE grants (tenant_id bigint, grant_id uuid, amount numeric(38, 9));
"""
"""the columns of other packages' tables that are compared"""
FILL = (
    """INSERT INTO payment_orders SELECT tenant_id, order_id, channel, amount, 'paid' FROM cash_postings WHERE kind = 'payment'""",
    """INSERT INTO refunds SELECT tenant_id, refund_id, order_id, amount, 'succeeded' FROM cash_postings WHERE kind = 'refund'""",
    """INSERT INTO wallet_outbox SELECT tenant_id, md5(tenant_id || order_id)::uuid, 'payment:' || order_id || ':paid', now(), NULL
    FROM cash_postings WHERE kind = 'payment'""",
    """INSERT INTO wallet_outbox
    SELECT tenant_id, md5('bonus' || tenant_id || order_id)::uuid, 'payment:' || order_id || ':bonus', now(), NULL
    FROM cash_postings WHERE kind = 'payment'""",
    """INSERT INTO grants SELECT w.tenant_id, w.command_id, CASE WHEN w.source LIKE '%:paid' THEN o.amount ELSE 20 END
    FROM wallet_outbox w JOIN payment_orders o ON o.tenant_id = w.tenant_id AND o.order_id = split_part(w.source, ':', 2)""",
    """INSERT INTO top_ups
    SELECT tenant_id, 'tu_' || order_id, order_id, 20, md5(tenant_id || order_id)::uuid, md5('bonus' || tenant_id || order_id)::uuid
    FROM cash_postings WHERE kind = 'payment'""",
    # A merchant's refund of a part that the channel has closed, one that is under way and one that the wallet refused.
    """INSERT INTO refunds SELECT $1::bigint, id, 'po_1', 10, status, 'tu_po_1', 'merchant', md5(id)::uuid, 10, 2
    FROM (VALUES ('re_closed', 'closed'), ('re_way', 'processing'), ('re_no', 'refused')) AS one (id, status)""",
    """INSERT INTO wallet_outbox SELECT $1::bigint, md5(id)::uuid, 'refund:' || id || ':take', now(), refused
    FROM (VALUES ('re_closed', NULL), ('re_way', NULL), ('re_no', 'insufficient_balance')) AS one (id, refused)""",
    """INSERT INTO postings SELECT $1::bigint, 11, md5(id)::uuid, grant_id, amount FROM (VALUES ('re_closed'), ('re_way')) AS one (id),
    (VALUES (md5($1::bigint || 'po_1')::uuid, 10), (md5('bonus' || $1::bigint || 'po_1')::uuid, 2)) AS part (grant_id, amount)""",
    """INSERT INTO wallet_outbox SELECT $1::bigint, md5(which)::uuid, 'refund:re_closed:' || which, now(), NULL
    FROM (VALUES ('paid_back'), ('bonus_back')) AS back (which)""",
    "INSERT INTO grants SELECT $1::bigint, md5('paid_back')::uuid, 10 UNION ALL SELECT $1::bigint, md5('bonus_back')::uuid, 2",
    "INSERT INTO payment_orders SELECT $1, 'po_open', 'wechat', 100, 'pending'",
    "INSERT INTO refunds SELECT $1, 're_open', 'po_1', 1, 'processing'",
)
"""makes them as they are after the fixture's postings"""
_CREDIT = "(SELECT md5($1::bigint || 'po_1')::uuid)"
ELSEWHERE: dict[str, tuple[str, list[tuple[str, int, str]]]] = {
    "a paid order loses its mark": (
        "UPDATE payment_orders SET status = 'closed' WHERE tenant_id = $1 AND order_id = 'po_1'",
        [("cash_payment", 1, "po_1: it is closed, and has a payment in the cash book")],
    ),
    "an order is deleted": (
        "DELETE FROM payment_orders WHERE tenant_id = $1 AND order_id = 'po_1'",
        [("cash_payment", 1, "po_1: it has a payment in the cash book, and there is no such order")],
    ),
    "an order is marked as paid": (
        "UPDATE payment_orders SET status = 'paid' WHERE tenant_id = $1 AND order_id = 'po_open'",
        [("cash_payment", 0, "po_open: it is paid, and has no payment in the cash book")],
    ),
    "an order's amount is changed": (
        "UPDATE payment_orders SET amount = 99 WHERE tenant_id = $1 AND order_id = 'po_1'",
        [("cash_payment", 1, "po_1: it is of 99 through wechat, its payment in the cash book of 100 through wechat")],
    ),
    "an order's channel is changed": (
        "UPDATE payment_orders SET channel = 'alipay' WHERE tenant_id = $1 AND order_id = 'po_1'",
        [("cash_payment", 1, "po_1: it is of 100 through alipay, its payment in the cash book of 100 through wechat")],
    ),
    "a refund is deleted": (
        "DELETE FROM refunds WHERE tenant_id = $1 AND refund_id = 're_1'",
        [("cash_refund", 7, "re_1: it is in the cash book, and there is no such refund")],
    ),
    "a refund loses its mark": (
        "UPDATE refunds SET status = 'abnormal' WHERE tenant_id = $1 AND refund_id = 're_1'",
        [("cash_refund", 7, "re_1: it is abnormal, and in the cash book")],
    ),
    "a refund is marked as done": (
        "UPDATE refunds SET status = 'succeeded' WHERE tenant_id = $1 AND refund_id = 're_open'",
        [("cash_refund", 0, "re_open: it succeeded, and is not in the cash book")],
    ),
    "a refund's amount is changed": (
        "UPDATE refunds SET amount = 1 WHERE tenant_id = $1 AND refund_id = 're_1'",
        [("cash_refund", 7, "re_1: it is of 1 for order po_1, in the cash book of 33.33 for order po_1")],
    ),
    "a credit was never asked for": (
        f"DELETE FROM wallet_outbox WHERE tenant_id = $1 AND command_id = {_CREDIT}",
        [("cash_credit", 1, "po_1: it is paid, and neither credited nor refunded")],
    ),
    "a credit was refused": (
        f"UPDATE wallet_outbox SET refused = 'too_many_grants', applied_at = NULL WHERE tenant_id = $1 AND command_id = {_CREDIT}",
        [("cash_credit", 1, "po_1: it is paid, its credit was refused (too_many_grants), and it is not refunded")],
    ),
    "a grant is missing": (
        f"DELETE FROM grants WHERE tenant_id = $1 AND grant_id = {_CREDIT}",
        [("cash_credit", 1, "po_1: its credit is said to be applied, and there is no such grant")],
    ),
    "a grant is too large": (
        f"UPDATE grants SET amount = 1000 WHERE tenant_id = $1 AND grant_id = {_CREDIT}",
        [("cash_credit", 1, "po_1: it is paid with 100, and credited with 1000")],
    ),
    "a bonus is larger": (
        "UPDATE top_ups SET bonus_granted = 200 WHERE tenant_id = $1 AND paid_order_id = 'po_1'",
        [("cash_bonus", 0, "po_1: its top-up gives a bonus of 200, the wallet has one of 20")],
    ),
    "a bonus was never asked for": (
        "DELETE FROM wallet_outbox WHERE tenant_id = $1 AND source = 'payment:po_1:bonus'",
        [("cash_bonus", 0, "po_1: its top-up gives a bonus of 20, which was never asked for")],
    ),
    "a bonus that no top-up gives": (
        "UPDATE top_ups SET bonus_granted = 0 WHERE tenant_id = $1 AND paid_order_id = 'po_1'",
        [("cash_bonus", 0, "po_1: it has a bonus, and no top-up that gives one")],
    ),
    "a refund took nothing": (
        "UPDATE refunds SET command_id = NULL, paid_taken = 0, bonus_taken = 0 WHERE tenant_id = $1 AND refund_id = 're_way'",
        [("cash_refund_credit", 0, "re_way: it takes no credits, or by another command")],
    ),
    "a refund took less": (
        "UPDATE refunds SET bonus_taken = 1 WHERE tenant_id = $1 AND refund_id = 're_way'",
        [("cash_refund_credit", 0, "re_way: it takes 10 of paid credit and 1 of the bonus, taken were 10 and 2")],
    ),
    "a refund went on without its credits": (
        "UPDATE refunds SET status = 'processing' WHERE tenant_id = $1 AND refund_id = 're_no'",
        [("cash_refund_credit", 0, "re_no: it is processing, and its credits were not taken")],
    ),
    "a closed refund gave nothing back": (
        "DELETE FROM wallet_outbox WHERE tenant_id = $1 AND source = 'refund:re_closed:bonus_back'",
        [("cash_refund_credit", 0, "re_closed: it is closed, and what it took was not given back as it was")],
    ),
    "a refund gave back and goes on": (
        "UPDATE refunds SET status = 'processing' WHERE tenant_id = $1 AND refund_id = 're_closed'",
        [("cash_refund_credit", 0, "re_closed: it is processing, and gave back what it took")],
    ),
    "credits are taken for no refund": (
        "DELETE FROM refunds WHERE tenant_id = $1 AND refund_id = 're_way'",
        [("cash_refund_credit", 0, "re_way: it takes credits, and there is no such refund")],
    ),
    "a credit without a payment": (
        "INSERT INTO wallet_outbox SELECT $1, md5('x')::uuid, 'payment:po_open:paid', NULL, NULL",
        [("cash_credit", 0, "po_open: it is credited, and not paid")],
    ),
}
"""what is done to the other books → what is found, at which posting"""


async def test_other_books_that_agree_are_whole(there: Room) -> None:
    """Proves: orders, refunds and credits that fit their postings are no differences: not those that are under way, nor a payment that was
    refunded in place of being credited."""
    assert (await after(there, STAND_IN, *FILL)).differences == []
    waiting = (
        f"DELETE FROM grants WHERE tenant_id = $1 AND grant_id = {_CREDIT}",
        f"UPDATE wallet_outbox SET applied_at = NULL WHERE tenant_id = $1 AND command_id = {_CREDIT}",
    )
    assert (await after(there, STAND_IN, *FILL, *waiting)).differences == []
    given_up = (
        "DELETE FROM wallet_outbox WHERE tenant_id = $1 AND source = 'payment:po_2:paid'",
        "INSERT INTO refunds SELECT $1, 're_all', 'po_2', 30, 'processing'",
    )
    assert (await after(there, STAND_IN, *FILL, *given_up)).differences == []


@pytest.mark.parametrize("what", ELSEWHERE)
async def test_books_that_disagree_are_found(there: Room, what: str) -> None:
    """Proves: an order, a refund or a credit without its posting is found, and a posting without them, whichever was changed."""
    statement, expected = ELSEWHERE[what]
    report = await after(there, STAND_IN, *FILL, statement)
    assert [(one.what, one.sequence, one.detail) for one in report.differences] == expected
    assert {one.tenant_id for one in report.differences} == {there.tenant_id}
