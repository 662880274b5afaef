"""`buffmoney demo`: the product's main job in under a minute, on a real `buffmoney up` with a data directory of its own.

Makes a merchant and customers with grants, posts realistic usage in batches of 500, shows it live, kills the core with -9 in the middle,
holds and captures, buys credits on the hosted checkout of the sandbox, and then checks everything against the database: what was answered
200 is there, once, and the ledger verifies.
Without a terminal it prints plain lines. A batch counts as acked by its last answer: accepted and duplicates are stored, nothing else is.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import psutil
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from buffmoney import demo_top_up
from buffmoney.base.config import read_run_file

EVENTS_PER_BATCH = 500
SENDERS = 8
RETRIED = 0.03
"""share of batches that are sent a second time, as clients do after a time-out"""
TRAFFIC_S = 18.0
KILL_AT_S = 7.0
READY_S = 90.0
GIVE_UP_S = 30.0
PRICES = {
    "gpt-4o": ("18", "72"),
    "deepseek-v3": ("2", "8"),
    "qwen-max": ("2.4", "9.6"),
    "claude-sonnet": ("21", "105"),
}
"""¥ for a million tokens in and out"""
GRANTS = {
    "aurora-chat": ("20000", "500"),
    "brightdesk": ("15000", "500"),
    "codeforge": ("30000", "1000"),
    "dragon-travel": ("8000", "200"),
    "everlearn": ("12000", "300"),
    "tiny-lab": ("3", "1"),
}
"""customers that are shown: ¥ paid and ¥ bonus; tiny-lab is meant to run dry"""
OTHERS = 54
HELD, CAPTURED = "5", "3.2"


class DemoError(RuntimeError):
    """Something that must work did not. The message says what."""


@dataclass(slots=True)
class Traffic:
    """What was sent and what came back. Times in seconds."""

    stored: dict[str, int] = field(default_factory=dict)
    """batch -> events that its last answer says are stored"""
    accepted: int = 0
    duplicates: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    charged: Decimal = Decimal(0)
    failures: int = 0
    """requests without an answer or with 429 or 503; they were sent again"""
    latencies: deque[tuple[float, float]] = field(default_factory=deque)
    """(when, how long) of the last seconds"""
    per_second: dict[int, int] = field(default_factory=dict)
    first_after_kill: float | None = None
    killed_at: float | None = None
    started: float = field(default_factory=time.monotonic)

    def took(self, seconds: float, events: int) -> None:
        """Counts an answer."""
        now = time.monotonic()
        self.latencies.append((now, seconds))
        while self.latencies and now - self.latencies[0][0] > 5:
            self.latencies.popleft()
        self.per_second[int(now - self.started)] = self.per_second.get(int(now - self.started), 0) + events

    def percentile_ms(self, share: float) -> float:
        """Of the last five seconds."""
        ordered = sorted(latency for _, latency in self.latencies)
        return ordered[max(0, math.ceil(len(ordered) * share) - 1)] * 1e3 if ordered else 0.0

    def events_per_s(self) -> int:
        """Of the last whole second."""
        return self.per_second.get(int(time.monotonic() - self.started) - 1, 0)


class Demo:
    """One demonstration against one `up`."""

    def __init__(self, data_dir: Path, console: Console) -> None:
        self.data_dir = data_dir
        self.console = console
        self.log = data_dir / "demo-up.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        ours = ("DATABASE_URL", "REDIS_URL", "BUFFMONEY_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = {**inherited, "BUFFMONEY_DATA_DIR": str(data_dir)}
        self.up: subprocess.Popen[bytes] | None = None
        self.traffic = Traffic()
        self.balances: dict[str, dict[str, Any]] = {}
        self.ledger: list[tuple[str, int, Decimal]] = []
        self.problems: list[str] = []
        self.key = ""
        self.tenant_id = 0
        self.chance = random.Random(20)

    # ---- the stages

    async def show(self) -> bool:
        """Everything in order. Returns whether all was as it must be."""
        began = time.monotonic()
        await asyncio.to_thread(self._start_up)
        self._say(f"[green]✓[/green] buffmoney up is ready at {self.url} [dim]after {time.monotonic() - began:.1f} s[/dim]")
        made = await asyncio.to_thread(self._command, "merchants", "create", "--name", "Demo Merchant")
        self.key = made["liveKey"]
        database = await asyncpg.connect(self._database_url)
        self.tenant_id = await database.fetchval(
            "SELECT tenant_id FROM tenants WHERE merchant_id = $1 AND mode = 'live'", made["merchantId"]
        )
        await database.close()
        self._say(f"[green]✓[/green] merchant {made['merchantId']}, live key {self.key[:16]}…")
        limits = httpx.Limits(max_connections=SENDERS + 8)
        headers = {"Authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=15, limits=limits, trust_env=False) as client:
            await self._fund(client)
            await self._send_traffic(client)
            await self._hold(client)
            await self._read_balances(client)
        await self._top_up(made["sandboxKey"])
        await self._count()
        await asyncio.to_thread(self._verify)
        self._next(time.monotonic() - began)
        return not self.problems

    def _start_up(self) -> None:
        self._say("[dim]starting PostgreSQL, Valkey, an edge, a core and a worker …[/dim]")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "buffmoney", "up", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        with self.log.open("wb") as log:
            self.up = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.up.poll() is not None:
                raise DemoError(f"`buffmoney up` ended:\n{self.log.read_text(errors='replace')[-2000:]}")
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    return
            time.sleep(0.1)
        raise DemoError(f"`buffmoney up` was not ready after {READY_S:.0f} s:\n{self.log.read_text(errors='replace')[-2000:]}")

    def _command(self, *arguments: str, may_fail: bool = False) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "buffmoney", *arguments, "--json"], env=self.environment, capture_output=True, check=False, timeout=120
        )
        if done.returncode != 0 and not may_fail:
            raise DemoError(f"buffmoney {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()[-1000:]}")
        return json.loads(done.stdout)

    async def _fund(self, client: httpx.AsyncClient) -> None:
        charges = [
            {"metric": metric, "per": "1000000", "price": price, "match": {"model": model}}
            for model, prices in PRICES.items()
            for metric, price in zip(("tokens_input", "tokens_output"), prices, strict=True)
        ]
        await _expect(client.post("/v1/rate-cards", json={"name": "demo", "currency": "CNY", "charges": charges}))
        grants = dict(GRANTS) | {f"customer-{number:02d}": ("5000", "0") for number in range(OTHERS)}
        wanted = [
            (customer, kind, amount)
            for customer, amounts in grants.items()
            for kind, amount in zip(("paid", "bonus"), amounts, strict=True)
        ]
        for customer, kind, amount in wanted:
            if amount != "0":
                content = {"amount": amount, "currency": "CNY", "kind": kind}
                headers = {"Idempotency-Key": f"demo-{customer}-{kind}"}
                await _expect(client.post(f"/v1/customers/{customer}/grants", json=content, headers=headers))
        total = sum(Decimal(amount) for _, _, amount in wanted)
        self._say(f"[green]✓[/green] a rate card for {len(PRICES)} models; {len(grants)} customers with grants of ¥{total:,}")

    async def _top_up(self, sandbox_key: str) -> None:
        simulator_url = str(read_run_file(self.data_dir)["simulatorUrl"])
        bought = await demo_top_up.buy(self.url, sandbox_key, simulator_url)
        self._say(
            f"[green]✓[/green] sandbox: ¥{demo_top_up.AMOUNT} bought on the checkout page ({bought.page_bytes / 1000:.1f} kB), its code "
            f"scanned and paid on the simulator's phone; ¥{bought.balance_before} of credits after {bought.credited_s * 1e3:.0f} ms, "
            f"¥{demo_top_up.SPENT} spent"
        )

    # ---- traffic

    def _batch(self, number: int) -> bytes:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        names = [*GRANTS, *(f"customer-{other:02d}" for other in range(OTHERS))]
        events = []
        for request in range(EVENTS_PER_BATCH // 2):
            customer, model = self.chance.choice(names), self.chance.choice(list(PRICES))
            tokens = (("tokens_input", self.chance.randint(20, 4000)), ("tokens_output", self.chance.randint(1, 900)))
            for metric, quantity in tokens:
                events.append(
                    {
                        "customerExternalId": customer,
                        "idempotencyKey": f"batch{number:07d}/{request}/{metric}",
                        "metric": metric,
                        "quantity": str(quantity),
                        "occurredAt": moment,
                        "dimensions": {"model": model},
                    }
                )
        return msgspec.json.encode({"events": events})

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> dict[str, Any]:
        """Sends until there is an answer, as a client with idempotency keys may."""
        since = time.monotonic()
        while True:
            started = time.monotonic()
            try:
                answer = await client.post("/v1/usage-events", content=body, headers={"Content-Type": "application/json"})
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                content: dict[str, Any] = answer.json()
                self.traffic.took(time.monotonic() - started, content["accepted"] + content["duplicates"])
                if self.traffic.killed_at is not None and self.traffic.first_after_kill is None and started > self.traffic.killed_at:
                    self.traffic.first_after_kill = time.monotonic() - self.traffic.killed_at
                return content
            if answer is not None and answer.status_code not in (429, 503):
                raise DemoError(f"POST /v1/usage-events answered {answer.status_code}: {answer.text[:500]}")
            if time.monotonic() - since > GIVE_UP_S:
                raise DemoError(f"no batch got an answer for {GIVE_UP_S:.0f} s")
            self.traffic.failures += 1
            await asyncio.sleep(0.05)

    async def _sender(self, client: httpx.AsyncClient, first: int, until: float) -> None:
        number = first
        while time.monotonic() < until:
            body = self._batch(number)
            name = f"batch{number:07d}"
            number += SENDERS
            times = 2 if self.chance.random() < RETRIED else 1
            for _ in range(times):
                answer = await self._post(client, body)
                self.traffic.stored[name] = answer["accepted"] + answer["duplicates"]
                self.traffic.accepted += answer["accepted"]
                self.traffic.duplicates += answer["duplicates"]
                self.traffic.charged += Decimal(answer["charged"])
                for result in answer["results"]:
                    if result["outcome"] in ("rejected", "conflict"):
                        self.traffic.rejected[result["code"]] = self.traffic.rejected.get(result["code"], 0) + 1

    async def _send_traffic(self, client: httpx.AsyncClient) -> None:
        self.traffic = Traffic()
        until = self.traffic.started + TRAFFIC_S
        senders = asyncio.gather(*(self._sender(client, first, until) for first in range(SENDERS)))
        helpers = [asyncio.create_task(self._watch(client)), asyncio.create_task(self._kill_core())]
        try:
            if self.console.is_terminal:
                with Live(self._picture(), console=self.console, refresh_per_second=4) as live:
                    while not senders.done():
                        live.update(self._picture())
                        await asyncio.wait([senders], timeout=0.25)
            else:
                while not senders.done():
                    await asyncio.wait([senders], timeout=2)
                    self._say(self._line())
            await senders
        finally:
            senders.cancel()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        if self.traffic.killed_at is None:
            self.problems.append("the core could not be found and killed")
        elif self.traffic.first_after_kill is None:
            self.problems.append("no batch was answered after the core was killed")
        else:
            self._say(
                f"[green]✓[/green] the core was killed with -9 and started again: the next batch was answered "
                f"{self.traffic.first_after_kill:.1f} s later; {self.traffic.failures} requests were sent again"
            )

    async def _kill_core(self) -> None:
        await asyncio.sleep(KILL_AT_S)
        assert self.up is not None
        for child in psutil.Process(self.up.pid).children():
            if "core" in child.cmdline():
                self.traffic.killed_at = time.monotonic()
                child.send_signal(signal.SIGKILL)
                if not self.console.is_terminal:
                    self._say(f"[red]kill -9 {child.pid}[/red] (the core)")
                return

    async def _watch(self, client: httpx.AsyncClient) -> None:
        """Keeps what the picture shows up to date: balances over HTTP, totals from the ledger. Meets the outage like anyone else."""
        database = await asyncpg.connect(self._database_url)
        try:
            while True:
                with suppress(httpx.TransportError):
                    await self._read_balances(client)
                rows = await database.fetch(
                    "SELECT k.code, count(*) AS postings, sum(p.amount) AS amount FROM postings p JOIN posting_kinds k USING (kind) "
                    "WHERE p.tenant_id = $1 GROUP BY k.kind, k.code ORDER BY k.kind",
                    self.tenant_id,
                )
                self.ledger = [(row["code"], row["postings"], row["amount"]) for row in rows]
                await asyncio.sleep(0.7)
        finally:
            await database.close()

    async def _read_balances(self, client: httpx.AsyncClient) -> None:
        for customer in GRANTS:
            answer = await client.get(f"/v1/customers/{customer}/balance")
            if answer.status_code == 200:
                self.balances[customer] = answer.json()

    @property
    def _database_url(self) -> str:
        content: dict[str, str] = json.loads((self.data_dir / "run.json").read_bytes())
        return content["databaseUrl"]

    # ---- after the traffic

    async def _hold(self, client: httpx.AsyncClient) -> None:
        content = {"amount": HELD, "ttlSeconds": 600}
        hold = await _expect(client.post("/v1/customers/codeforge/holds", json=content, headers={"Idempotency-Key": "demo-hold"}))
        captured = await _expect(client.post(f"/v1/holds/{hold['holdId']}/capture", json={"amount": CAPTURED}))
        if Decimal(captured["captured"]) != Decimal(CAPTURED) or captured["status"] != "captured":
            self.problems.append(f"a capture of ¥{CAPTURED} answered {captured}")
        self._say(f"[green]✓[/green] held ¥{HELD} of codeforge's balance for an agent run, captured ¥{CAPTURED}, the rest is free again")

    async def _count(self) -> None:
        """Compares what was answered with what is stored, batch by batch, and the money with the balances."""
        database = await asyncpg.connect(self._database_url)
        try:
            rows = await database.fetch(
                "SELECT split_part(idempotency_key, '/', 1) AS batch, count(*) AS events, count(DISTINCT idempotency_key) AS keys "
                "FROM usage_events WHERE tenant_id = $1 GROUP BY 1",
                self.tenant_id,
            )
            charge = await database.fetchval("SELECT coalesce(sum(charge), 0) FROM usage_events WHERE tenant_id = $1", self.tenant_id)
            sums = await database.fetch(
                "SELECT kind, sum(amount) AS amount FROM postings WHERE tenant_id = $1 GROUP BY kind", self.tenant_id
            )
            left = await database.fetchval(
                "SELECT coalesce(sum(balance_after + held_after), 0) FROM "
                "(SELECT DISTINCT ON (tenant_id, account_id) balance_after, held_after FROM postings "
                "WHERE tenant_id = $1 ORDER BY tenant_id, account_id, seq DESC) AS last",
                self.tenant_id,
            )
        finally:
            await database.close()
        flows: dict[int, Decimal] = {row["kind"]: row["amount"] for row in sums}
        found = {row["batch"]: row["events"] for row in rows}
        acked, stored = sum(self.traffic.stored.values()), sum(found.values())
        lost = sum(max(0, events - found.get(batch, 0)) for batch, events in self.traffic.stored.items())
        more = sum(max(0, events - self.traffic.stored.get(batch, 0)) for batch, events in found.items())
        doubled = sum(row["events"] - row["keys"] for row in rows)
        verdict = f"acked {acked:,}, stored {stored:,}: {lost} lost, {doubled} doubled"
        if lost or doubled or more:
            self.problems.append(f"{verdict}, {more} stored beyond what was answered")
        self._say(f"{'[red]✗[/red]' if lost or doubled or more else '[green]✓[/green]'} {verdict}")
        granted, used, captured = (flows.get(kind, Decimal(0)) for kind in (1, 2, 4))
        if charge != used or granted - used - captured != left:
            self.problems.append(f"granted {granted}, charged {charge}, postings {used}, captured {captured}, left {left} do not add up")
        else:
            self._say(
                f"[green]✓[/green] granted ¥{granted:,.2f} = charged ¥{used.normalize():f} + captured ¥{captured.normalize():f} "
                f"+ left ¥{left.normalize():f}"
            )

    def _verify(self) -> None:
        started = time.monotonic()
        found = self._command("ledger", "verify", may_fail=True)
        if found["differences"]:
            self.problems.append(f"ledger verify found {found['differences'][:3]}")
        mark = "[red]✗[/red]" if found["differences"] else "[green]✓[/green]"
        self._say(
            f"{mark} ledger verify: {found['postings']:,} postings, {found['events']:,} events, {found['wallets']:,} wallets, "
            f"{len(found['differences'])} differences [dim]in {time.monotonic() - started:.1f} s[/dim]"
        )

    def _next(self, seconds: float) -> None:
        for problem in self.problems:
            self._say(f"[red]✗ {problem}[/red]")
        command = "buffmoney" if shutil.which("buffmoney") else os.path.relpath(Path(sys.executable).with_name("buffmoney"))
        self.console.print(
            Panel(
                f"[bold]{'Something is off' if self.problems else 'Everything adds up'}[/bold] [dim]after {seconds:.0f} s[/dim]\n\n"
                "[bold]Next[/bold]\n"
                f"  {command} up                                    everything at 127.0.0.1:8000\n"
                f"  {command} merchants create --name 'My company'  your keys\n"
                f"  {command} rate-cards create --file card.json    your prices\n"
                f"  {command} usage import usage.csv …              your history\n"
                f"  {command} ledger verify                         the proof, at any time\n"
                "  http://127.0.0.1:8000/api/openapi                the API",
                expand=False,
                border_style="red" if self.problems else "green",
            )
        )

    # ---- what it looks like

    def _line(self) -> str:
        traffic = self.traffic
        spent = sum((amount for code, _, amount in self.ledger if code == "usage"), Decimal(0))
        return (
            f"{time.monotonic() - traffic.started:4.0f} s  {traffic.events_per_s():>7,} events/s  "
            f"p50 {traffic.percentile_ms(0.5):.0f} ms  p99 {traffic.percentile_ms(0.99):.0f} ms  accepted {traffic.accepted:,}  "
            f"duplicates {traffic.duplicates:,}  rejected {sum(traffic.rejected.values()):,}  ledger ¥{spent:,.2f}"
        )

    def _picture(self) -> RenderableType:
        traffic = self.traffic
        flow = Table.grid(padding=(0, 2))
        flow.add_row("events/s", f"[bold]{traffic.events_per_s():,}[/bold]", "accepted", f"{traffic.accepted:,}")
        flow.add_row("batch p50", f"{traffic.percentile_ms(0.5):.0f} ms", "duplicates", f"{traffic.duplicates:,}")
        refused = ", ".join(f"{code} {count:,}" for code, count in traffic.rejected.items()) or "0"
        flow.add_row("batch p99", f"{traffic.percentile_ms(0.99):.0f} ms", "rejected", refused)
        flow.add_row("sent again", f"{traffic.failures}", "core", self._core_state())
        balances = Table(title="balances, over HTTP", title_justify="left")
        for column in ("customer", "available", "sequence"):
            balances.add_column(column, justify="left" if column == "customer" else "right")
        for customer, balance in self.balances.items():
            balances.add_row(customer, f"¥{Decimal(balance['available']):,.4f}", str(balance["sequence"]))
        ledger = Table(title="the ledger, in PostgreSQL", title_justify="left")
        for column in ("posting", "count", "amount"):
            ledger.add_column(column, justify="left" if column == "posting" else "right")
        for code, count, amount in self.ledger:
            ledger.add_row(code, f"{count:,}", f"¥{amount:,.4f}")
        # Side by side where both fit.
        return Group(Panel(flow, title="usage", expand=False), Columns((balances, ledger), padding=(0, 3)))

    def _core_state(self) -> str:
        killed, back = self.traffic.killed_at, self.traffic.first_after_kill
        return f"[green]back {back:.1f} s after kill -9[/green]" if back else "[red]killed with -9[/red]" if killed else "runs"

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stops `up`, which stops everything else."""
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            try:
                self.up.wait(timeout=45)
            except subprocess.TimeoutExpired:
                self.up.kill()
                self.up.wait()


async def _expect(request: Awaitable[httpx.Response]) -> dict[str, Any]:
    answer = await request
    if not answer.is_success:
        raise DemoError(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:500]}")
    content: dict[str, Any] = answer.json()
    return content


def run(data_dir: Path | None = None, console: Console | None = None) -> int:
    """The exit code: 0 if everything was as it must be. data_dir: kept; without one a temporary directory is used and removed."""
    console = console or Console()
    if data_dir is None:
        # Not under /tmp where that is memory, and open to the account that runs PostgreSQL when this is root.
        roomy = Path("/var/tmp")  # noqa: S108 - a fresh directory is made in it
        folder = Path(tempfile.mkdtemp(prefix="buffmoney-demo-", dir=roomy if os.access(roomy, os.W_OK) else None))
        folder.chmod(0o755)
    else:
        folder = data_dir.expanduser().absolute()
    demo = Demo(folder, console)
    try:
        return 0 if asyncio.run(demo.show()) else 1
    except (DemoError, demo_top_up.TopUpError, httpx.HTTPError, OSError, asyncpg.PostgresError) as failure:
        console.print(f"[red]✗ {failure}[/red]", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    finally:
        demo.close()
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
