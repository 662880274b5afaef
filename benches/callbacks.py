"""Payment callbacks: thousands of orders are made and paid in the sandbox as payers do it, and then told of at an even pace.

The simulator's own courier would take the processors from what is measured, so it is switched off, and what it would send is signed just
before by its own code with its own keys; who sends it stands for WeChat and Alipay, which are other machines. Orders are paid by turns
through WeChat Pay and Alipay, with and without a bonus, each by a customer of its own. When an order was committed is PostgreSQL's word
(`track_commit_timestamp`), and credits count as readable when a balance that has them was received.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import math
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from benches.connection import Target
from benches.load import Prepared
from benches.measures import Figures, Pace, Say
from benches.product import Product
from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.collection import checkout_assets
from buffmoney.collection.top_ups import token_of
from buffmoney.simulator.alipay import notices as alipay_notices
from buffmoney.simulator.keys import PlatformKey
from buffmoney.simulator.wechat import notices as wechat_notices

RATE = 205
"""a second; a little above the goal, since the wait for the last answer counts as well"""
MERCHANTS = 4
WARM_UP = 200
CONNECTIONS = 48
UNPACED = 1_000
"""callbacks that are sent without a pace, as fast as answers come"""
REPEATED = 500
"""callbacks that are sent once more, as the channels do"""
WATCH_EACH = 20
"""every so many callbacks, somebody waits for the credits"""
PAGES = 50
"""open top-ups whose pages are looked at: each with a choice, and as many with a code"""
PAGES_PER_S = 25


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to pay, and what is paid. balance: of the customer afterwards, from so many grants."""

    product: str
    amount: str
    balance: str
    grants: int


@dataclass(frozen=True, slots=True)
class TopUp:
    """A top-up. key: of its merchant. token: of its checkout."""

    top_up_id: str
    customer: str
    key: str
    token: str
    kind: Kind


KINDS = (
    Kind("native", "30", "30", 1),
    Kind("precreate", "100", "120", 2),
    Kind("native", "100", "120", 2),
    Kind("precreate", "30", "30", 1),
)
PROMOTION = {"name": "welcome", "buy": "100", "get": "20", "firstPurchaseOnly": True}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0", "Accept-Language": "zh-CN"}


class Till:
    """A product whose payments nobody has told it of yet."""

    def __init__(self, product: Product, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.product = product
        self.sql = connection
        self.settings = Settings.from_environment({"BUFFMONEY_DATA_DIR": str(product.data_dir)})
        self.keys: dict[int, str] = {}

    async def send(self, url: str, requests: list[Prepared], **plan: Any) -> dict[str, Any]:
        """Sends prepared requests, each once."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(msgspec.msgpack.encode(requests))
            file.flush()
            return await self.product.load("prepared", url=url, prepared=file.name, requests=len(requests), **plan)

    async def merchant(self) -> int:
        """A merchant's sandbox with a promotion. Its tenant."""
        made = self.product.command("merchants", "create", "--name", "Bench")
        key = made["sandboxKey"]
        tenant: int = await self.sql.fetchval(
            "SELECT tenant_id FROM tenants WHERE merchant_id = $1 AND mode = 'sandbox'", made["merchantId"]
        )
        self.keys[tenant] = key
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=self.product.url, headers=headers, timeout=30, trust_env=False) as client:
            (await client.post("/v1/promotions", json=PROMOTION)).raise_for_status()
        return tenant

    async def top_ups(self, tenants: list[int], count: int) -> list[TopUp]:
        """Makes open top-ups, by turns of these tenants."""
        first = await self.sql.fetchval("SELECT count(*) FROM top_ups")
        requests = []
        kinds: dict[str, Kind] = {}
        for number in range(first, first + count):
            customer, kind = f"customer-{number:06d}", KINDS[number // len(tenants) % len(KINDS)]
            kinds[customer] = kind
            target = Target(self.product.url, self.keys[tenants[number % len(tenants)]])
            body = json.dumps({"customerExternalId": customer, "amount": kind.amount}).encode()
            requests.append(Prepared(target.post("/v1/top-ups", len(body), f"top-up-{number}"), body, 201))
        await self.send(self.product.url, requests, connections=16)
        rows = await self.sql.fetch("SELECT * FROM top_ups WHERE customer = ANY ($1) ORDER BY customer", list(kinds))
        tokens = [token_of(self.settings, row["tenant_id"], row["top_up_id"]) for row in rows]
        return [
            TopUp(row["top_up_id"], row["customer"], self.keys[row["tenant_id"]], token, kinds[row["customer"]])
            for row, token in zip(rows, tokens, strict=True)
        ]

    async def start(self, made: list[TopUp]) -> None:
        """Has their payers choose how to pay."""
        target, requests = Target(self.product.url, ""), []
        for top_up in made:
            body = f"product={top_up.kind.product}".encode()
            requests.append(Prepared(target.send(f"/pay/{top_up.token}/start", FORM, len(body)), body, 303))
        await self.send(self.product.url, requests, connections=16)
        # A payer takes seconds and not minutes, so that the worker does not come to ask about most orders.
        await self.sql.execute("UPDATE payment_orders SET next_poll_at = next_poll_at + interval '1 hour' WHERE status = 'pending'")

    async def orders(self, tenants: list[int], count: int) -> dict[str, TopUp]:
        """Makes that many top-ups and pays them at their channels, which say nothing of it. By their orders' numbers."""
        made = {top_up.top_up_id: top_up for top_up in await self.top_ups(tenants, count)}
        await self.start(list(made.values()))
        rows = await self.sql.fetch(
            "SELECT top_up_id, order_no, started->>'qr_content' AS code FROM payment_orders WHERE top_up_id = ANY ($1)", list(made)
        )
        simulator, requests = Target(self.settings.simulator_url, ""), []
        for row in rows:
            body = json.dumps({"code": row["code"]}).encode()
            requests.append(Prepared(simulator.send("/phone/pay", JSON, len(body)), body, 200))
        await self.send(self.settings.simulator_url, requests, connections=4)
        return {row["order_no"]: made[row["top_up_id"]] for row in rows}

    def signed(self, orders: dict[str, TopUp]) -> list[tuple[str, Prepared]]:
        """The channels' callbacks of these orders, every so often with a wait for the credits. They are good for five minutes."""
        target, clock = Target(self.product.url, ""), SystemClock()
        with closing(sqlite3.connect(f"file:{self.product.data_dir}/simulator/simulator.sqlite?mode=ro", uri=True)) as store:
            store.row_factory = sqlite3.Row
            keys = {row["channel"]: _platform_key(row) for row in store.execute("SELECT * FROM platform_keys")}
            secrets = dict(store.execute("SELECT collector_id, api_v3_key FROM merchants").fetchall())
            notices = store.execute("SELECT n.*, o.order_no FROM notices n JOIN orders o USING (order_id) ORDER BY n.seq").fetchall()
        found: list[tuple[str, Prepared]] = []
        for row in notices:
            top_up = orders.get(row["order_no"])
            if top_up is None:
                continue
            now, kept, key = clock.now_us(), json.loads(row["content"]), keys[row["channel"]]
            if row["channel"] == "wechat":
                headers, body = wechat_notices.request(
                    row["notice_id"], kept, row["created_at_us"], secrets[row["collector_id"]], key, now // 1_000_000, "genuine"
                )
            else:
                headers, body = alipay_notices.request(row["notice_id"], kept, key, now, "genuine")
            one = Prepared(target.send(urlsplit(row["url"]).path, headers, len(body)), body, 204 if row["channel"] == "wechat" else 200)
            if len(found) % WATCH_EACH == 0:
                one.watch = Target(self.product.url, top_up.key).get(f"/v1/customers/{top_up.customer}/balance")
                one.sign = f'"available":"{top_up.kind.balance}"'.encode()
            found.append((row["order_no"], one))
        assert len(found) == len(orders), f"{len(orders)} orders, but {len(found)} callbacks"
        return found

    async def tell(self, orders: dict[str, TopUp], **plan: Any) -> dict[str, Any]:
        """Sends the callbacks of these orders. The report has `readable_ms`, sorted, from commits to balances, and `backlog`: grants that
        were not given when the last answer came. Raises if an answer is wrong or an order is not credited, and that once."""
        callbacks = self.signed(orders)
        # As if the orders were made just now.
        await self.sql.execute("UPDATE payment_orders SET next_poll_at = now() + interval '1 minute' WHERE status = 'pending'")
        report = await self.send(self.product.url, [one for _, one in callbacks], **plan)
        report["backlog"] = await self.sql.fetchval("SELECT count(*) FROM wallet_outbox WHERE result IS NULL")
        if report["refused"]:
            raise RuntimeError(f"{report['refused']} callbacks were refused with 429 or 503")
        await self.check(orders)
        commits = {row[0]: row[1] for row in await self.sql.fetch(COMMITS, list(orders))}
        if not all(report["seen"].values()):
            raise RuntimeError("there are credits that could not be read in time")
        waits = [seen - commits[callbacks[int(number)][0]].timestamp() for number, seen in report["seen"].items()]
        report["readable_ms"] = sorted(wait * 1e3 for wait in waits)
        await self.send(
            self.product.url, [msgspec.structs.replace(one, watch=b"") for _, one in callbacks[:REPEATED]], connections=CONNECTIONS
        )
        await self.check(orders)
        return report

    async def check(self, orders: dict[str, TopUp]) -> None:
        """Raises unless each of these orders was settled by its callback, credited once, and its credits given."""
        expected = len(orders), sum(top_up.kind.grants for top_up in orders.values())
        deadline = time.monotonic() + 20
        while (found := tuple(await self.sql.fetchrow(CREDITED, list(orders)) or ())) != (*expected, expected[1]):
            if time.monotonic() > deadline:
                raise RuntimeError(f"orders, commands, grants: {found} in place of {(*expected, expected[1])}")
            await asyncio.sleep(0.1)


COMMITS = """
SELECT o.order_no, pg_xact_commit_timestamp(c.xmin) FROM cash_postings c JOIN payment_orders o USING (tenant_id, order_id)
WHERE c.kind = 'payment' AND o.order_no = ANY ($1)
"""
CREDITED = """
SELECT count(DISTINCT o.order_id), count(w.command_id), count(g.grant_id)
FROM payment_orders o
JOIN cash_postings c ON c.tenant_id = o.tenant_id AND c.order_id = o.order_id AND c.kind = 'payment' AND c.amount = o.amount
JOIN top_ups u ON u.tenant_id = o.tenant_id AND u.top_up_id = o.top_up_id AND u.paid_order_id = o.order_id
JOIN wallet_outbox w ON w.tenant_id = u.tenant_id AND w.command_id IN (u.paid_grant_id, u.bonus_grant_id)
LEFT JOIN grants g ON g.tenant_id = w.tenant_id AND g.grant_id = w.command_id AND w.applied_at IS NOT NULL
WHERE o.order_no = ANY ($1) AND o.outcome = 'credited' AND o.settled_by = 'callback'
"""


async def callbacks(pace: Pace, say: Say) -> Figures:
    """At an even pace, and as fast as answers come: of several merchants, and of one. Then what the checkout page weighs and takes."""
    figures: Figures = {}
    with Product(environment={"BUFFMONEY_PLATFORM_FEE_BPS": "100"}) as product:
        async with _till(product) as till:
            tenants = [await till.merchant() for _ in range(MERCHANTS + 1)]
            await till.tell(await till.orders(tenants, WARM_UP), rate=RATE, connections=CONNECTIONS)
            figures.update(await _at_pace(till, tenants[1:], pace.latency_seconds / 2, say))
            alone = await _at_pace(till, tenants[:1], pace.latency_seconds / 6, say)
            figures.update({f"{name}_single_merchant": value for name, value in alone.items()})
            figures.update(await _pages(till, tenants, pace, say))
        product.command("ledger", "verify")
        say("  every order credited once; ledger verified")
    return figures


async def _at_pace(till: Till, tenants: list[int], seconds: float, say: Say) -> Figures:
    began = time.monotonic()
    paced, unpaced = [await till.orders(tenants, count) for count in (round(RATE * seconds), UNPACED)]
    say(f"  {len(tenants)} merchants: {len(paced) + len(unpaced):,} orders made and paid in {time.monotonic() - began:.0f} s")
    report = await till.tell(paced, rate=RATE, connections=CONNECTIONS)
    readable = report["readable_ms"]
    figures = {
        "callbacks_per_s": round(report["requests"] / report["seconds"]),
        "callback_p50_ms": report["p50_ms"],
        "callback_p99_ms": report["p99_ms"],
        "callbacks_backlog": report["backlog"],
        "credit_readable_p50_ms": round(statistics.median(readable), 1),
        "credit_readable_p99_ms": round(readable[math.ceil(len(readable) * 0.99) - 1], 1),
    }
    say(f"  {figures}, generator late by {report['late_ms']} ms at most, {len(readable)} balances")
    report = await till.tell(unpaced, connections=CONNECTIONS)
    figures["callbacks_per_s_most"] = round(report["requests"] / report["seconds"])
    say(f"  unpaced: {figures['callbacks_per_s_most']} callbacks/s, p99 {report['p99_ms']} ms, backlog {report['backlog']}")
    return figures


async def _pages(till: Till, tenants: list[int], pace: Pace, say: Say) -> Figures:
    """What the checkout weighs without its code, and how long its page takes beside half of the callbacks: every other one shows a code, so
    that its channel is asked as well."""
    opened = await till.top_ups(tenants, 2 * PAGES)
    await till.start(opened[::2])
    seconds = pace.latency_seconds / 6
    orders = await till.orders(tenants, round(RATE / 2 * seconds))
    plain, gzipped = (max(_weight(till, top_up.token, pack) for top_up in opened[:PAGES]) for pack in (bytes, gzip.compress))
    target = Target(till.product.url, "")
    views = [target.look(f"/pay/{top_up.token}", BROWSER) for top_up in opened]
    requests = [Prepared(head, b"", 200) for head in itertools.islice(itertools.cycle(views), round(PAGES_PER_S * seconds))]
    report: dict[str, Any]
    _, report = await asyncio.gather(
        till.tell(orders, rate=RATE / 2, connections=CONNECTIONS), till.send(till.product.url, requests, rate=PAGES_PER_S, connections=8)
    )
    figures: Figures = {
        "checkout_page_kb": round(plain / 1e3, 1),
        "checkout_page_gzipped_kb": round(gzipped / 1e3, 1),
        "checkout_page_p50_ms": report["p50_ms"],
        "checkout_page_p99_ms": report["p99_ms"],
    }
    say(f"  {figures}")
    return figures


def _weight(till: Till, token: str, pack: Callable[[bytes], bytes]) -> int:
    """Bytes of a page and of all that it loads, each packed, without the code."""
    with httpx.Client(base_url=till.product.url, headers=BROWSER, trust_env=False) as client:
        page = client.get(f"/pay/{token}").raise_for_status().text
        files = [client.get(path).raise_for_status().content for path in sorted(set(re.findall(r'"(/pay/assets/[^"]+)"', page)))]
    assert len(files) == len(checkout_assets.ASSETS), "the page loads other files than there are"
    bare = re.sub(r'(<div class="qr [^>]*>).*?</div>', r"\1</div>", page, flags=re.DOTALL)
    return sum(len(pack(content)) for content in (bare.encode(), *files))


@asynccontextmanager
async def _till(product: Product) -> AsyncIterator[Till]:
    """With commits that know their time and a simulator that tells nobody."""
    connection = await asyncpg.connect(product.database_url)
    await connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    await connection.close()
    product.restart_postgres()
    connection = await asyncpg.connect(product.database_url)
    try:
        till = Till(product, connection)
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.post(f"{till.settings.simulator_url}/control/callbacks", json={"mode": "off"})).raise_for_status()
        yield till
    finally:
        await connection.close()


def _platform_key(row: sqlite3.Row) -> PlatformKey:
    private = serialization.load_pem_private_key(row["private_pem"].encode(), None)
    assert isinstance(private, RSAPrivateKey)
    return PlatformKey(row["key_id"], row["kind"], private, row["certificate_pem"], row["created_at_us"], row["retires_at_us"])
