"""One function for each fault. Each gives a Line; `short` makes it a matter of seconds."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg

from buffmoney.base.clock import SystemClock, format_time, to_datetime
from buffmoney.base.periods import Periods
from tests.faults.arena import Line, arena, own_product
from tests.faults.load import Connection
from tests.faults.proxy import CommitDroppingProxy
from tests.product import COMMAND, Merchant, Product

Scenario = Callable[[Product, bool], Awaitable[Line]]

SETTLED_CARD: dict[str, Any] = {
    "name": "settled",
    "currency": "CNY",
    "charges": [
        {
            "metric": "tokens_input",
            "model": "volume",
            "tiers": [{"upTo": "20000", "price": "4", "per": "1000000"}, {"upTo": None, "price": "2", "per": "1000000"}],
        },
        {"metric": "tokens_output", "price": "16", "per": "1000000", "minimumPerPeriod": "1"},
    ],
}
SETTLED = """
SELECT e.account_id, e.metric_id, sum(e.quantity) AS quantity, sum(e.charge) AS charge,
    (SELECT coalesce(sum(p.amount), 0) FROM period_charges p JOIN rate_card_charges c USING (tenant_id, price_id)
     WHERE p.tenant_id = $1 AND p.account_id = e.account_id AND c.metric_id = e.metric_id) AS settled
FROM usage_events e WHERE e.tenant_id = $1 GROUP BY e.account_id, e.metric_id
"""


async def kill_role(product: Product, role: str, kills: int, name: str) -> Line:
    """kill -9 of one role again and again, each time after service is back."""
    line = Line(name)
    async with arena(product, line) as running:
        for _ in range(kills):
            await running.kill_and_recover(role)
            await asyncio.sleep(running.random.uniform(0.1, 0.6))
    return line


async def kill_edge(product: Product, short: bool) -> Line:
    """kill -9 of one edge, then of all of them at once, so that clients meet a survivor as well as nobody."""
    line = Line("kill_edge")
    async with arena(product, line) as running:
        for number in range(2 if short else 20):
            await running.kill_and_recover("edge", every=number % 2 == 1)
            await asyncio.sleep(running.random.uniform(0.1, 0.6))
    return line


async def kill_core(product: Product, short: bool) -> Line:
    """kill -9 of the core, in the middle of groups."""
    return await kill_role(product, "core", 2 if short else 20, "kill_core")


async def kill_worker(product: Product, short: bool) -> Line:
    """kill -9 of the worker; afterwards the roll-ups must be equal to the events all the same."""
    line = Line("kill_worker")
    async with arena(product, line) as running:
        for _ in range(2 if short else 20):
            await running.kill_and_recover("worker")
            await asyncio.sleep(running.random.uniform(0.1, 0.6))
        tenant_id = await asyncio.to_thread(lambda: running.merchant.tenant_id)
    connection = await asyncpg.connect(product.run["databaseUrl"])
    try:
        for _ in range(50):
            sums = [
                await connection.fetchrow(
                    f"SELECT {count} AS n, sum(quantity) AS q, sum(charge) AS c FROM {table} WHERE tenant_id = $1", tenant_id
                )
                for table, count in (("usage_events", "count(*)"), ("usage_rollups", "sum(events)"))
            ]
            if tuple(sums[0]) == tuple(sums[1]):
                break
            await asyncio.sleep(0.2)
        else:
            line.result.doubled += 1
            line.result.differ(f"roll-ups {tuple(sums[1])}, events {tuple(sums[0])}")
    finally:
        await connection.close()
    return line


async def kill_valkey(product: Product, short: bool) -> Line:
    """kill -9 of Valkey: the inbox, the marks of seen batches and all balances are gone."""
    return await kill_role(product, "valkey", 2 if short else 20, "kill_valkey")


async def kill_postgres(product: Product, short: bool) -> Line:
    """kill -9 of PostgreSQL's postmaster, which takes all its backends with it."""
    return await kill_role(product, "postgres", 2 if short else 20, "kill_postgres")


async def flushall(product: Product, short: bool) -> Line:
    """FLUSHALL under load, again and again."""
    line = Line("flushall")
    async with arena(product, line) as running:
        for _ in range(5 if short else 40):
            running.redis().flushall()
            line.kills += 1
            await running.first_success(time.monotonic())
            await asyncio.sleep(running.random.uniform(0.05, 0.4))
    return line


async def redis_down(product: Product, short: bool) -> Line:
    """Redis does not answer for a while (stopped, then continued): balances must still be answered, from PostgreSQL."""
    line = Line("redis_down")
    answered = 0
    async with arena(product, line) as running:
        loop = asyncio.get_running_loop()
        for _ in range(1 if short else 5):
            (pid,) = product.pids("valkey")
            running.kill(pid, signal.SIGSTOP)
            line.kills += 1
            stopped = loop.time()
            try:
                await asyncio.sleep(4)
                answered += running.watcher.last_ok > stopped + 0.2
            finally:
                running.kill(pid, signal.SIGCONT)
            await running.first_success(time.monotonic())
            await asyncio.sleep(0.5)
    if answered < line.kills:
        line.result.differ(f"balances were answered in only {answered} of {line.kills} outages")
    return line


async def lost_commit_answer(product: Product, short: bool) -> Line:
    """The connection is lost at COMMIT: half of the time the COMMIT arrived and its answer is lost, half of the time it never arrived."""
    line = Line("lost_commit_answer")
    async with behind_proxy(product) as (proxied, proxy), arena(proxied, line) as running:
        for number in range(4 if short else 40):
            line.kills += await proxy.lose_a_commit(before_server=number % 2 == 1)
            await running.first_success(time.monotonic())
            await asyncio.sleep(running.random.uniform(0.05, 0.3))
    if not line.kills:
        line.result.differ("no COMMIT was seen by the proxy")
    return line


def pay_as_you_go(product: Product) -> Merchant:
    """A merchant whose customers pay after, with lines that are settled when a period has ended."""
    made = product.new_merchant(billing="pay-as-you-go", card=None)
    made.ok("POST", "/v1/rate-cards", SETTLED_CARD)
    return made


async def settling(product: Product, short: bool) -> Line:
    """The core is killed between a sweep that settles ended periods and its COMMIT, or between the COMMIT and its answer."""
    line = Line("settling")
    starts = Periods().starts_us
    # A period is settled an hour after its end; one that ended less than two hours ago might be while events still go out.
    ended = starts[bisect_right(starts, SystemClock().now_us() - 2 * 3_600_000_000) - 1]
    async with behind_proxy(product) as (proxied, proxy):
        proxy.only = b"period_charges"
        merchant = await asyncio.to_thread(pay_as_you_go, proxied)
        tenant_id = await asyncio.to_thread(lambda: merchant.tenant_id)
        last_moment = format_time(to_datetime(ended - 1))
        async with arena(proxied, line, merchant=merchant, occurred_at=last_moment, ingest=0, holds=0, grants=0) as running:
            load, sender = running.load, Connection(proxied.port, merchant.sandbox_key)
            for number in range(4 if short else 40):
                before_server = number % 2 == 1
                losing = asyncio.create_task(proxy.lose_a_commit(before_server=before_server))
                await load.send(sender, load.events(f"{load.name}-{number}"))
                line.kills += await losing
                # Every other time the core dies with what it had settled, else it must find out by itself.
                if number % 4 < 2:
                    (core,) = proxied.pids("core")
                    running.kill(core)
                    await running.wait_for_return("core", [core], 1)
                back = time.monotonic()
                await load.send(sender, load.events(f"{load.name}-{number}-after"))
                await running.first_success(back)
            sender.close()
            connection = await asyncpg.connect(proxied.run["databaseUrl"])
            try:
                for difference in await unsettled(connection, tenant_id):
                    line.result.differ(difference)
            finally:
                await connection.close()
    if line.kills < 2:
        line.result.differ(f"only {line.kills} commits of sweeps were seen by the proxy")
    return line


async def unsettled(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, limit_s: float = 20) -> list[str]:
    """Customers whose period was not charged for what their events say, once all that is due had time to be settled."""
    deadline = time.monotonic() + limit_s
    while True:
        wrong = [
            f"account {row['account_id']}, metric {row['metric_id']}: settled {row['settled']}, due {due}"
            for row in await connection.fetch(SETTLED, tenant_id)
            if row["settled"] != (due := settled_by_hand(row["metric_id"], row["quantity"], row["charge"]))
        ]
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(0.5)


def settled_by_hand(metric_id: int, quantity: Decimal, charge: Decimal) -> Decimal:
    """What SETTLED_CARD asks at a period's end, beyond what the events were charged."""
    if metric_id == 2:
        return max(Decimal(0), Decimal(1) - charge)
    return quantity * (Decimal(4) if quantity <= 20_000 else Decimal(2)) / 1_000_000


@asynccontextmanager
async def behind_proxy(product: Product) -> AsyncIterator[tuple[Product, CommitDroppingProxy]]:
    """A product on a database of its own, on the other's servers, that reaches PostgreSQL through a proxy."""
    database = f"proxied_{secrets.token_hex(3)}"
    owner = await asyncpg.connect(product.run["databaseUrl"])
    await owner.execute(f"CREATE DATABASE {database}")
    proxy = CommitDroppingProxy(product.run["databaseUrl"])
    await proxy.start()
    redis_url = str(product.run["redisUrl"])
    environment = {
        "DATABASE_URL": proxy.url(database),
        "REDIS_URL": redis_url.replace("db=0", "db=1") if "db=0" in redis_url else redis_url.removesuffix("/0") + "/1",
        # Roles belong to the whole server, and their passwords derive from the secret.
        "BUFFMONEY_SECRET": (product.data_dir / "secret").read_text().strip(),
    }
    try:
        async with own_product("proxied", environment) as proxied:
            yield proxied, proxy
    finally:
        await proxy.stop()
        await owner.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await owner.close()


async def two_cores(product: Product, short: bool) -> Line:
    """A core is stopped past its lease, another takes over, then the first wakes up and believes that it still owns the partition."""
    line = Line("two_cores")
    async with arena(product, line) as running:
        for _ in range(1 if short else 5):
            (first,) = product.pids("core")
            log = product.log.open("ab")
            running.kill(first, signal.SIGSTOP)
            second = await asyncio.to_thread(
                subprocess.Popen,
                [COMMAND, "core", "--partitions", "0"],
                env=product.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            line.kills += 1
            try:
                stopped = time.monotonic()
                await asyncio.sleep(4)
                taken = next((moment for moment in running.load.book.successes if moment > stopped + 1), None)
                for _ in range(100):
                    if taken is not None:
                        break
                    await asyncio.sleep(0.1)
                    taken = next((moment for moment in reversed(running.load.book.successes) if moment > stopped + 1), None)
                if taken is None:
                    line.result.differ("the second core did not take over within 14 s")
                running.kill(first, signal.SIGCONT)
                await asyncio.sleep(2)
                await running.first_success(time.monotonic())
            finally:
                running.kill(first, signal.SIGCONT)
                second.terminate()
                await asyncio.to_thread(second.wait, 30)
                log.close()
            await running.first_success(time.monotonic())
    connection = await asyncpg.connect(product.run["databaseUrl"])
    try:
        backwards = await connection.fetchval(
            "SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (ORDER BY commit_seq) AS back FROM commits"
            " WHERE partition_id = 0) AS pairs WHERE back"
        )
    finally:
        await connection.close()
    if backwards:
        line.result.differ(f"{backwards} commits of an older epoch stand behind newer ones")
    return line


async def client_gone(product: Product, short: bool) -> Line:
    """Clients hang up right after sending, then ask again: the outcome is the first one."""
    line = Line("client_gone")
    async with arena(product, line, ingest=2) as running:
        load = running.load
        for number in range(20 if short else 200):
            events = load.events(f"{load.name}-gone-{number}")
            hasty = Connection(product.port, running.merchant.sandbox_key)
            sending = asyncio.create_task(load.send(hasty, events))
            await asyncio.sleep(running.random.choice((0, 0.002, 0.01, 0.03)))
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            hasty.close()
            line.kills += 1
            again = Connection(product.port, running.merchant.sandbox_key)
            await load.send(again, events)
            again.close()
    return line


def registry() -> dict[str, Scenario]:
    """Every scenario by name, in the order of the report."""
    from tests.faults import extremes, payments

    return {
        "kill_edge": kill_edge,
        "kill_core": kill_core,
        "kill_worker": kill_worker,
        "kill_valkey": kill_valkey,
        "kill_postgres": kill_postgres,
        "flushall": flushall,
        "redis_down": redis_down,
        "lost_commit_answer": lost_commit_answer,
        "settling": settling,
        "two_cores": two_cores,
        "client_gone": client_gone,
        "overload": extremes.overload,
        "disk_full": extremes.disk_full,
        "control": extremes.control,
        **{name: partial(payments.every_step, name) for name in payments.FLOWS},
        "pay_sample": payments.sample,
        "pay_control": payments.control,
    }
