"""The cash book as its callers use it: posting, reading, races, privileges, and tenants from before there was one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest

from buffmoney.audit import log
from buffmoney.base.clock import FixedClock, SystemClock
from buffmoney.base.config import Role
from buffmoney.base.database import Database, connect
from buffmoney.ledger import cash
from buffmoney.merchants import merchants
from buffmoney.migrate import migrate, migrations
from tests.integration.partition import Room, assert_whole

AT = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
WRITERS: tuple[Role, ...] = ("edge", "worker")
NOTHING = {
    "wechat_clearing": 0,
    "alipay_clearing": 0,
    "wechat_fees": 0,
    "alipay_fees": 0,
    "merchant_payable": 0,
    "platform_fees": 0,
    "payment_suspense": 0,
}
COLUMNS = "kind, debit_account_id, credit_account_id, amount, order_id, refund_id, channel, occurred_at, posted_at, chain_hash"


@pytest.fixture(autouse=True)
async def book_alone(place: Room) -> None:
    """The cash book without the orders and refunds it is compared with, which most of this is not about."""
    await place.owner.execute("DROP TABLE payment_orders, refunds CASCADE")


@pytest.fixture
async def edge(place: Room) -> AsyncIterator[Database]:
    """The edge's way to the database."""
    database = await Database.open(place.settings, "edge", size=8)
    yield database
    await database.close()


def author(place: Room) -> log.Author:
    """A job of ours, at a time that stands still."""
    return log.Author.system(place.settings, FixedClock(1_795_496_400_000_000), "test")


def payment(order_id: str, amount: str = "100", channel: cash.Channel = "wechat") -> list[cash.Entry]:
    """At 0.6 % for the channel and 1 % for us."""
    return cash.payment_entries(order_id, channel, Decimal(amount), platform_bps=100, occurred_at=AT)


async def post(database: Database, place: Room, entries: list[cash.Entry]) -> int:
    """Entries in a transaction of their own."""
    async with database.tenant(place.tenant_id) as connection:
        return await cash.post(connection, author(place), place.tenant_id, entries)


async def refund(database: Database, place: Room, order_id: str, refund_id: str, amount: str) -> int:
    """A refund by what the book holds of the order."""
    async with database.tenant(place.tenant_id) as connection:
        sums = await cash.order_sums(connection, place.tenant_id, order_id)
        assert sums is not None
        entries = cash.refund_entries(order_id, refund_id, sums.channel, Decimal(amount), sums, occurred_at=AT)
        return await cash.post(connection, author(place), place.tenant_id, entries)


async def balances(place: Room) -> dict[str, Decimal]:
    """Of the room's tenant, only what is not zero."""
    return {code: amount for code, amount in (await cash.balances(place.owner, place.tenant_id)).items() if amount}


# ---------------------------------------------------------------- posting and reading


async def test_a_payment_and_its_refunds_move_the_accounts(place: Room, edge: Database) -> None:
    """Proves: what is posted is what is read, by account and by order; refunded whole, nothing is left, but what Alipay keeps."""
    assert await cash.balances(place.owner, place.tenant_id) == NOTHING
    assert await post(edge, place, payment("po_1")) == 3
    assert await post(edge, place, payment("po_2", "30", "alipay")) == 6
    expected = {
        "wechat_clearing": Decimal(100),
        "alipay_clearing": Decimal(30),
        "wechat_fees": Decimal("0.6"),
        "alipay_fees": Decimal("0.18"),
        "merchant_payable": Decimal("127.92"),
        "platform_fees": Decimal("1.3"),
    }
    assert await balances(place) == expected
    assert list(await cash.balances(place.owner, place.tenant_id)) == list(NOTHING)

    assert await refund(edge, place, "po_1", "re_1", "33.33") == 9
    sums = await cash.order_sums(place.owner, place.tenant_id, "po_1")
    assert sums == cash.OrderSums("wechat", Decimal(100), Decimal("0.6"), Decimal(1), Decimal("33.33"))
    assert (await balances(place))["merchant_payable"] == expected["merchant_payable"] - Decimal("33.33") + Decimal("0.2") + Decimal("0.33")
    await refund(edge, place, "po_1", "re_2", "66.67")
    await refund(edge, place, "po_2", "re_3", "30")
    assert await balances(place) == {"alipay_fees": Decimal("0.18"), "merchant_payable": Decimal("-0.18")}
    with pytest.raises(ValueError, match="more than is left"):
        await refund(edge, place, "po_1", "re_4", "0.01")

    for name in ("po_3", "PO_1", "po_1 ", ""):
        assert await cash.order_sums(place.owner, place.tenant_id, name) is None
    report = await assert_whole(place)
    assert (report["cashPostings"], report["cashBalances"]) == (14, {"sandbox": report["cashBalances"]["sandbox"]})
    assert report["cashBalances"]["sandbox"]["merchant_payable"] == "-0.18"
    assert [head["sequence"] for head in report["cashHeads"]] == [14]


async def test_suspense_holds_what_nobody_knows(place: Room, edge: Database) -> None:
    """Proves: money of an unknown order waits in suspense, goes out when its order is found, and the order is then paid as any other;
    a release beyond what went in is a difference."""
    await post(edge, place, cash.suspense_entries("wechat", Decimal(5), order_id=None, occurred_at=AT))
    await post(edge, place, cash.suspense_entries("alipay", Decimal(7), order_id="po_2", occurred_at=AT))
    assert await balances(place) == {"wechat_clearing": 5, "alipay_clearing": 7, "payment_suspense": 12}
    assert await cash.order_sums(place.owner, place.tenant_id, "po_2") is None
    release = cash.suspense_release_entries("wechat", Decimal(5), order_id=None, refund_id=None, occurred_at=AT)
    await post(edge, place, [*release, *payment("po_1", "5")])
    back = cash.suspense_release_entries("alipay", Decimal(7), order_id="po_2", refund_id="re_2", occurred_at=AT)
    await post(edge, place, back)
    assert await balances(place) == {
        "wechat_clearing": Decimal(5),
        "wechat_fees": Decimal("0.03"),
        "platform_fees": Decimal("0.05"),
        "merchant_payable": Decimal("4.92"),
    }
    await assert_whole(place)


async def test_times_and_names_are_kept(place: Room, edge: Database) -> None:
    """Proves: when it happened by the channel and when it was posted by our clock are both there, to the microsecond."""
    await post(edge, place, payment("po_1"))
    rows = await place.owner.fetch("SELECT * FROM cash_postings WHERE tenant_id = $1 ORDER BY seq", place.tenant_id)
    assert [(row["seq"], row["kind"], row["order_id"], row["refund_id"]) for row in rows] == [
        (1, "payment", "po_1", None),
        (2, "channel_fee", "po_1", None),
        (3, "platform_fee", "po_1", None),
    ]
    assert {(row["occurred_at"], row["posted_at"]) for row in rows} == {(AT, datetime(2026, 11, 24, 5, 0, tzinfo=UTC))}


@pytest.mark.parametrize("role", WRITERS)
async def test_edge_and_worker_settle(place: Room, role: Role) -> None:
    """Proves: both processes that hear of payments may post them."""
    database = await Database.open(place.settings, role, size=1)
    assert await post(database, place, payment("po_1")) == 3
    await database.close()
    await assert_whole(place)


async def test_an_order_is_paid_once_and_a_refund_happens_once(place: Room, edge: Database) -> None:
    """Proves: the second posting of an order or of a refund is an error of its own, and nothing of its transaction stays."""
    await post(edge, place, payment("po_1"))
    await refund(edge, place, "po_1", "re_1", "10")
    with pytest.raises(cash.AlreadyPostedError, match="po_1"):
        await post(edge, place, payment("po_1", "30"))
    with pytest.raises(cash.AlreadyPostedError, match="re_1"):
        await refund(edge, place, "po_1", "re_1", "10")
    assert await place.owner.fetchval("SELECT seq FROM cash_heads WHERE tenant_id = $1", place.tenant_id) == 6
    await refund(edge, place, "po_1", "re_2", "10")
    await assert_whole(place)


async def test_a_payment_belongs_to_a_transaction_and_has_entries(place: Room) -> None:
    """Proves: who forgets the transaction, or has nothing to post, is told at once."""
    with pytest.raises(AssertionError, match="transaction"):
        await cash.post(place.owner, author(place), place.tenant_id, payment("po_1"))
    async with place.owner.transaction():
        with pytest.raises(ValueError, match="nothing to post"):
            await cash.post(place.owner, author(place), place.tenant_id, [])


# ---------------------------------------------------------------- races, rollbacks, lost connections


async def test_concurrent_payments_make_one_chain(place: Room, edge: Database) -> None:
    """Proves: a hundred payments of two tenants on eight connections, some of which fail, each posted whole or not at all, make chains
    without gaps."""
    made = await merchants.create(place.owner, b"p" * 32, SystemClock(), "Another", by=author(place))
    other = await merchants.tenant_id_of(place.owner, made.merchant_id, "sandbox")

    async def pay(number: int) -> None:
        tenant_id = (place.tenant_id, other)[number % 2]
        async with edge.tenant(tenant_id) as connection:
            await cash.post(connection, author(place), tenant_id, payment(f"po_{number}"))
            if number % 7 == 0:
                raise ZeroDivisionError

    results = await asyncio.gather(*(pay(number) for number in range(100)), return_exceptions=True)
    assert {type(result) for result in results} == {type(None), ZeroDivisionError}
    report = await assert_whole(place)
    paid = sum(number % 7 != 0 for number in range(100))
    assert report["cashPostings"] == 3 * paid
    assert report["cashBalances"]["sandbox"]["wechat_clearing"] == str(100 * paid)


async def test_payments_of_a_merchant_have_their_turns(place: Room, edge: Database) -> None:
    """Proves: who posts for one tenant goes on in the order in which they came, and another tenant's payments do not wait for them."""
    made = await merchants.create(place.owner, b"p" * 32, SystemClock(), "Another", by=author(place))
    other = await merchants.tenant_id_of(place.owner, made.merchant_id, "sandbox")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = x'63617368'::bigint::oid AND NOT granted"
    done: list[int] = []

    async def pay(number: int) -> None:
        await post(edge, place, payment(f"po_{number}"))
        done.append(number)

    async with place.owner.transaction():
        await cash.post(place.owner, author(place), place.tenant_id, payment("po_first"))
        queue = []
        for number in range(6):
            queue.append(asyncio.create_task(pay(number)))
            while await place.owner.fetchval(waiting) < number + 1:  # noqa: ASYNC110 - it is PostgreSQL that is waited for
                await asyncio.sleep(0.005)
        async with edge.tenant(other) as connection:
            await cash.post(connection, author(place), other, payment("po_other"))
        assert done == []
    await asyncio.gather(*queue)
    rows = await place.owner.fetch(
        "SELECT order_id FROM cash_postings WHERE tenant_id = $1 AND kind = 'payment' ORDER BY seq", place.tenant_id
    )
    assert [row["order_id"] for row in rows] == ["po_first", *(f"po_{number}" for number in range(6))]
    await assert_whole(place)


async def test_a_hundred_postings_of_one_order_are_one(place: Room, edge: Database) -> None:
    """Proves: whatever races, an order is posted once; everybody else hears that it was."""
    results = await asyncio.gather(*(post(edge, place, payment("po_1")) for _ in range(100)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AlreadyPostedError"] * 99 + ["int"]
    assert (await balances(place))["wechat_clearing"] == 100
    await assert_whole(place)


async def test_a_rollback_and_a_lost_connection_write_nothing(place: Room, edge: Database) -> None:
    """Proves: whether we or the server end the transaction, neither postings nor the head have moved, and the next one goes on."""
    query = "SELECT (SELECT count(*) FROM cash_postings), (SELECT sum(seq) FROM cash_heads)"
    await post(edge, place, payment("po_1"))
    before = await place.owner.fetchrow(query)
    with pytest.raises(ZeroDivisionError):
        async with edge.tenant(place.tenant_id) as connection:
            await cash.post(connection, author(place), place.tenant_id, payment("po_2"))
            raise ZeroDivisionError
    assert await place.owner.fetchrow(query) == before

    connection = await connect(place.settings, "edge")
    await connection.transaction().start()
    await connection.execute("SELECT set_config('buffmoney.tenant_id', $1, true)", str(place.tenant_id))
    await cash.post(connection, author(place), place.tenant_id, payment("po_2"))
    await place.owner.execute("SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid())
    assert await place.owner.fetchrow(query) == before
    assert await post(edge, place, payment("po_2")) == 6
    await assert_whole(place)


# ---------------------------------------------------------------- privileges


@pytest.mark.parametrize("role", ["edge", "core", "worker"])
async def test_no_role_changes_what_was_written(place: Room, edge: Database, role: Role) -> None:
    """Proves: no process may update, delete or empty the book, nor make or remove a head; only those that settle write."""
    await post(edge, place, payment("po_1"))
    connection = await connect(place.settings, role)
    statements = [
        "UPDATE cash_postings SET amount = 1",
        "DELETE FROM cash_postings",
        "TRUNCATE cash_postings",
        "DELETE FROM cash_heads",
        "TRUNCATE cash_heads",
        "INSERT INTO cash_heads SELECT * FROM cash_heads",
        "UPDATE cash_heads SET tenant_id = 1",
        "ALTER TABLE cash_postings DISABLE TRIGGER ALL",
    ]
    if role not in WRITERS:
        statements += ["INSERT INTO cash_postings SELECT * FROM cash_postings", "UPDATE cash_heads SET seq = 0"]
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_the_edge_sees_and_writes_one_tenant(place: Room, edge: Database) -> None:
    """Proves: row-level security shows a tenant its own book, and refuses postings under another's name."""
    made = await merchants.create(place.owner, b"p" * 32, SystemClock(), "Another", by=author(place))
    other = await merchants.tenant_id_of(place.owner, made.merchant_id, "live")
    await post(edge, place, payment("po_1"))
    async with edge.tenant(place.tenant_id) as connection:
        for table in ("cash_postings", "cash_heads"):
            assert {row["tenant_id"] for row in await connection.fetch(f"SELECT tenant_id FROM {table}")} == {place.tenant_id}
    async with edge.tenant(other) as connection:
        assert await cash.balances(connection, place.tenant_id) == NOTHING
        assert await cash.order_sums(connection, place.tenant_id, "po_1") is None
    with pytest.raises(cash.CashBookBrokenError, match="missing"):
        async with edge.tenant(other) as connection:
            await cash.post(connection, author(place), place.tenant_id, payment("po_2"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with edge.tenant(place.tenant_id) as connection:
            await connection.execute(
                f"INSERT INTO cash_postings (tenant_id, seq, {COLUMNS}) SELECT $1, seq + 100, {COLUMNS} FROM cash_postings", other
            )
    async with edge.connection() as connection:
        assert await connection.fetch("SELECT * FROM cash_postings") == []


async def test_triggers_stop_the_owner_and_heads_do_not_go_back(place: Room, edge: Database) -> None:
    """Proves: whoever owns the tables is stopped, too; a head goes on and never back."""
    await post(edge, place, payment("po_1"))
    for statement in (
        "UPDATE cash_postings SET amount = amount",
        "DELETE FROM cash_postings",
        "TRUNCATE cash_postings",
        "DELETE FROM cash_heads",
        "TRUNCATE cash_heads",
        "UPDATE cash_heads SET seq = seq - 1",
        "UPDATE cash_heads SET mac = sha256('x')",
        "UPDATE cash_heads SET tenant_id = tenant_id + 1, seq = seq + 1",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await place.owner.execute(statement)
    with pytest.raises(asyncpg.RestrictViolationError):
        async with edge.tenant(place.tenant_id) as connection:
            await connection.execute("UPDATE cash_heads SET seq = 0")


@pytest.mark.parametrize(
    "change",
    [
        "amount = 0",
        "amount = -1",
        "amount = 0.001",
        "amount = 'NaN'",
        "debit_account_id = 21",
        "credit_account_id = 20",
        "debit_account_id = 24, credit_account_id = 20",
        "channel = 'alipay'",
        "channel = 'bank'",
        "kind = 'gift'",
        "kind = 'channel_fee_return', channel = 'alipay', debit_account_id = 23, refund_id = 're_1'",
        "order_id = NULL",
        "order_id = ''",
        "refund_id = 're_1'",
        "occurred_at = 'infinity'",
        "seq = 0",
    ],
)
async def test_what_makes_no_sense_is_not_stored(place: Room, edge: Database, change: str) -> None:
    """Proves: the database itself refuses amounts that are no whole fen, accounts that are not the kind's, and missing names."""
    await post(edge, place, payment("po_1"))
    async with place.owner.transaction():
        # Past the triggers, as a mistake of ours would not be: what is tried is the table's own rules.
        await place.owner.execute("SET LOCAL session_replication_role = replica")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await place.owner.execute(f"UPDATE cash_postings SET {change} WHERE tenant_id = $1 AND seq = 1", place.tenant_id)


# ---------------------------------------------------------------- heads


async def test_both_tenants_of_a_merchant_begin_with_a_book(place: Room) -> None:
    """Proves: a merchant is made with an empty, signed book in each mode."""
    made = await merchants.create(place.owner, b"p" * 32, SystemClock(), "Another", by=author(place))
    rows = await place.owner.fetch(
        "SELECT mode, seq FROM cash_heads JOIN tenants USING (tenant_id) WHERE merchant_id = $1 ORDER BY 1", made.merchant_id
    )
    assert [tuple(row) for row in rows] == [("live", 0), ("sandbox", 0)]
    await assert_whole(place)


async def test_tenants_from_before_begin_their_book_with_the_migration(place: Room, edge: Database) -> None:
    """Proves: a database without the book gets it with a signed head for each tenant; again, nothing happens."""
    (version,) = (one.version for one in migrations() if one.name == "cash_book")
    await place.owner.execute("DROP TABLE cash_postings, cash_heads; DROP FUNCTION never_back()")
    await place.owner.execute("DELETE FROM system_accounts WHERE account_id BETWEEN 20 AND 29")
    await place.owner.execute("DELETE FROM schema_migrations WHERE version = $1", version)
    assert (await migrate(place.settings)).applied == ("cash_book",)
    assert (await migrate(place.settings)).applied == ()
    assert await post(edge, place, payment("po_1")) == 3
    await assert_whole(place)
