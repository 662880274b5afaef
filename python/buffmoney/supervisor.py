"""`buffmoney up`: everything on one machine under one process.

Starts the payment simulator, PostgreSQL, Valkey, the migrations, the worker, cores and the edges, in this order; starts a child again when it dies; and stops
them in the opposite order, so that every accepted request is answered and every commit is on disk. The supervisor opens the port itself
and hands it down: while an edge starts again, connections wait instead of being refused. A kill -9 of the supervisor takes all children
with it, and the next `up` on the same data directory continues where they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from buffmoney.base.config import RUN_FILE, Settings, make_secret
from buffmoney.base.telemetry import redact
from buffmoney.child import preparation
from buffmoney.migrate import migrate
from buffmoney.servers import Command, EmbeddedPostgres, EmbeddedValkey, Server, ServerError, free_port, wait_until_ready

FIRST_BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 1.0
STEADY_AFTER_S = 5.0
"""a child that lived this long is started again at once"""
SERVER_START_S = 180.0
"""recovery after a crash replays the log since the last checkpoint"""
READY_S = 60.0
LOG_BYTES = 64 * 1024 * 1024
PORT_BACKLOG = 2_048
NICENESS = {"postgres": 5, "core": 5, "simulator": 5, "worker": 15}
"""When every processor is busy with commits, a balance must not wait behind them: who answers goes before who writes in bulk, and
jobs come last. Nobody is slowed down while a processor is idle. Where processors are shared out among sessions first, the niceness
of PostgreSQL's processes counts for nothing, and `base.priority` does the same for its connections."""


class UpError(RuntimeError):
    """`up` cannot run. The message says why and what to do."""


@dataclass(slots=True)
class Child:
    """A process that is kept running. stop_s: how long it may drain before it is killed."""

    name: str
    command: Command
    environment: dict[str, str]
    log: Path
    stop_s: float
    inherited: tuple[int, ...] = ()
    on_restart: Callable[[str, int | None], None] | None = None
    before_start: Callable[[], None] | None = None
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    _stopping: bool = False
    _task: asyncio.Task[None] | None = field(default=None, repr=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def role(self) -> str:
        """Its name without its number."""
        return self.name.split("-")[0]

    def start(self) -> None:
        """Starts the process, and again whenever it ends, until `stop`."""
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def _keep(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._is_stopping():
            started = time.monotonic()
            try:
                await self._spawn()
                assert self.process is not None
                code: int | None = await self.process.wait()
            except (OSError, ServerError) as failure:
                code = None
                with self.log.open("a") as log:
                    log.write(f"could not start: {failure}\n")
            if self._is_stopping():
                return
            if self.on_restart is not None:
                self.on_restart(self.name, code)
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - started > STEADY_AFTER_S else min(backoff_s * 2, LONGEST_BACKOFF_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._wake.wait()

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _spawn(self) -> None:
        if self.starts and self.before_start is not None:
            await asyncio.to_thread(self.before_start)
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command.arguments,
                cwd=self.command.directory,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.inherited,
                # A group of its own: Ctrl-C reaches the supervisor alone, which then stops its children in order.
                process_group=0,
                preexec_fn=preparation(self.command.account, self.command.death_signal, NICENESS.get(self.role, 0)),
            )

    @property
    def running(self) -> bool:
        """Whether the process runs now."""
        return self.process is not None and self.process.returncode is None

    async def stop(self, *, at_once: bool = False) -> None:
        """Has the process drain and end; kills it after `stop_s`, or now."""
        self._stopping = True
        self._wake.set()
        process = self.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL if at_once else self.command.stop_signal)
            try:
                async with asyncio.timeout(self.stop_s):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._task is not None:
            await self._task


class Supervisor:
    """One run of `up`. settings: DATABASE_URL, REDIS_URL and a simulator's URL in them mean servers that somebody else runs."""

    def __init__(self, settings: Settings, *, edges: int = 1, partitions: int = 1, console: Console | None = None) -> None:
        if edges < 1 or partitions < 1:
            raise UpError("There must be at least one edge and one partition.")
        self.settings = settings
        self.edges = edges
        self.partitions = partitions
        self.console = console or Console(stderr=False, highlight=False)
        self.children: list[Child] = []
        self._lock: int | None = None
        self._ports: list[socket.socket] = []
        self._hurry = asyncio.Event()

    @property
    def data_dir(self) -> Path:
        """Where everything lies."""
        return self.settings.data_dir

    @property
    def url(self) -> str:
        """Where the API answers."""
        host = self.settings.host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
        return f"http://{shown}:{self.settings.port}"

    async def run(self) -> None:
        """Starts everything, keeps it running until SIGINT or SIGTERM, then stops it in order. Raises UpError, ServerError, Problem."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def asked() -> None:
            if stop.is_set():
                self._hurry.set()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked)
        try:
            self._prepare()
            starting = asyncio.create_task(self._start(), name="start everything")
            asking = asyncio.create_task(stop.wait(), name="wait for a signal")
            await asyncio.wait((starting, asking), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await self._tend(stop)
            else:
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
            asking.cancel()
        finally:
            await self._stop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    # ---- start

    def _prepare(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            (self.data_dir / "logs").mkdir(exist_ok=True)
        except OSError as failure:
            raise UpError(
                f"The data directory {self.data_dir} cannot be used: {failure.strerror}. Choose another with --data-dir."
            ) from failure
        self._take_lock()
        self._open_port()
        if not self.settings.secret:
            self.settings = self.settings.replace(secret=make_secret(self.data_dir))

    def _take_lock(self) -> None:
        descriptor = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise UpError(
                f"BuffMoney already runs on {self.data_dir} (pid {pid}). "
                f"Stop it with `kill {pid}`, or give this one another --data-dir and --port."
            ) from taken
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def _open_port(self) -> None:
        # First without sharing: somebody else on this port is to be noticed.
        first = self._listener(shared=False)
        self.settings = self.settings.replace(port=first.getsockname()[1])
        if self.edges == 1:
            self._ports = [first]
        else:
            # One socket for each edge, so that the kernel spreads connections evenly over them.
            first.close()
            self._ports = [self._listener(shared=True) for _ in range(self.edges)]
        for listener in self._ports:
            listener.listen(PORT_BACKLOG)
            listener.setblocking(False)

    def _listener(self, *, shared: bool) -> socket.socket:
        host, port = self.settings.host, self.settings.port
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host, port))
        except OSError as taken:
            listener.close()
            raise UpError(f"{host}:{port} cannot be listened on: {taken.strerror}. Choose another with --port.") from taken
        return listener

    async def _start(self) -> None:
        began = time.monotonic()
        if not self.settings.simulator_url:
            # First, so that it answers long before anybody can ask.
            port = free_port(self.data_dir, "simulator")
            self.settings = self.settings.replace(simulator_url=f"http://127.0.0.1:{port}")
            self._start_own("simulator", "simulator", "--port", str(port), "--data-dir", str(self.data_dir / "simulator"), stop_s=10)
        if not self.settings.database_url:
            self._say("PostgreSQL …")
            postgres = EmbeddedPostgres(self.settings)
            await self._start_server("postgres", postgres, stop_s=60)
            self.settings = self.settings.replace(database_url=postgres.url)
        if not self.settings.redis_url:
            self._say("Valkey …")
            valkey = EmbeddedValkey(self.settings)
            await self._start_server("valkey", valkey, stop_s=10)
            self.settings = self.settings.replace(redis_url=valkey.url)
        self._say("migrations …")
        migrated = await migrate(self.settings, partitions=self.partitions)
        metrics: dict[str, str] = {}
        # The worker is started before the cores so that stopping, in the opposite order, ends edges, cores, worker, servers.
        self._start_own("worker", "worker", "--metrics-port", self._metrics_port("worker", metrics), stop_s=10)
        for partition in range(migrated.partitions):
            name = f"core-{partition}"
            self._start_own(name, "core", "--partitions", str(partition), "--metrics-port", self._metrics_port(name, metrics), stop_s=15)
        for number, listener in enumerate(self._ports):
            name = "edge" if self.edges == 1 else f"edge-{number}"
            descriptor = listener.fileno()
            self._start_own(name, "edge", "--fd", str(descriptor), stop_s=15, inherited=(descriptor,))
        self._write_run_file(metrics)
        self._say("core and edges …")
        if await self._wait_ready():
            self._welcome(time.monotonic() - began)

    async def _start_server(self, name: str, server: Server, *, stop_s: float) -> None:
        await asyncio.to_thread(server.prepare)
        command = server.command()
        child = Child(
            name=name,
            command=command,
            environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", **dict(command.environment)},
            log=self._log(name),
            stop_s=stop_s,
            on_restart=self._restarted,
            before_start=server.prepare_again,
        )
        self.children.append(child)
        child.start()
        if not await wait_until_ready(server, SERVER_START_S):
            raise UpError(f"{name} did not start within {SERVER_START_S:.0f} s. The end of its log, {child.log}:\n{_tail(child.log)}")

    def _start_own(self, name: str, *arguments: str, stop_s: float, inherited: tuple[int, ...] = ()) -> None:
        child = Child(
            name=name,
            command=Command(
                arguments=(sys.executable, "-m", "buffmoney", *arguments),
                account=None,
                directory=Path.cwd(),
                stop_signal=signal.SIGTERM,
                death_signal=signal.SIGKILL,
            ),
            environment=self.environment(),
            log=self._log(name),
            stop_s=stop_s,
            inherited=inherited,
            on_restart=self._restarted,
        )
        self.children.append(child)
        child.start()

    def environment(self) -> dict[str, str]:
        """What BuffMoney's own processes get to know."""
        return {
            **os.environ,
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "BUFFMONEY_SECRET": self.settings.secret,
            "BUFFMONEY_DATA_DIR": str(self.data_dir),
            "BUFFMONEY_HOST": self.settings.host,
            "BUFFMONEY_PORT": str(self.settings.port),
            "BUFFMONEY_SIMULATOR_URL": self.settings.simulator_url,
            "PYTHONUNBUFFERED": "1",
        }

    def _metrics_port(self, name: str, metrics: dict[str, str]) -> str:
        port = free_port(self.data_dir, f"metrics {name}")
        metrics[name] = f"http://127.0.0.1:{port}/metrics"
        return str(port)

    def _write_run_file(self, metrics: dict[str, str]) -> None:
        content: dict[str, Any] = {
            "url": self.url,
            "host": self.settings.host,
            "port": self.settings.port,
            "databaseUrl": self.settings.database_url,
            "redisUrl": self.settings.redis_url,
            "simulatorUrl": self.settings.simulator_url,
            "pid": os.getpid(),
            "dataDir": str(self.data_dir),
            "edges": self.edges,
            "metrics": metrics,
            "startedAt": datetime.now(UTC).isoformat(),
        }
        # It holds the database's password, so it is closed to others from its first byte on.
        draft = self.data_dir / f"{RUN_FILE}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file, indent=2)
        draft.replace(self.data_dir / RUN_FILE)

    async def _wait_ready(self) -> bool:
        deadline = time.monotonic() + READY_S
        last = "no answer"
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    answer = await client.get(f"{self.url}/readyz")
                    if answer.status_code == 200:
                        return True
                    last = f"{answer.status_code} {answer.text[:500]}"
                except httpx.HTTPError as failure:
                    last = f"no answer ({type(failure).__name__})"
                await asyncio.sleep(0.05)
        restarted = [child for child in self.children if child.starts > 1]
        ends = "\n".join(f"--- {child.log}\n{_tail(child.log)}" for child in restarted)
        # It goes on trying: a chain that is broken must not keep an operator from looking at it.
        self.console.print(f"[yellow]{self.url}/readyz is not 200 after {READY_S:.0f} s: {escape(last)}[/yellow]")
        self.console.print(ends, markup=False)
        self.console.print(f"[dim]still trying; logs are in {self.data_dir / 'logs'}[/dim]")
        return False

    # ---- while it runs

    async def _tend(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await stop.wait()
            for child in self.children:
                _shorten(child.log)

    def _restarted(self, name: str, code: int | None) -> None:
        how = "could not be started" if code is None else f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with {code}"
        self.console.print(f"{datetime.now(UTC):%H:%M:%S} [yellow]{name} {how}; starting it again[/yellow]")

    def _log(self, name: str) -> Path:
        path = self.data_dir / "logs" / f"{name}.log"
        _shorten(path)
        return path

    def _say(self, what: str) -> None:
        self.console.print(f"[dim]starting {what}[/dim]")

    def _welcome(self, seconds: float) -> None:
        text = Text.from_markup(
            f"[bold]BuffMoney is ready[/bold] [dim]after {seconds:.1f} s[/dim]\n\n"
            f"API         {self.url}\n"
            f"OpenAPI     {self.url}/api/openapi\n"
            f"health      {self.url}/readyz   {self.url}/metrics\n"
            f"phone       {self.settings.simulator_url}/phone   [dim]pays sandbox orders[/dim]\n"
            f"data        {self.data_dir}\n"
            f"logs        {self.data_dir / 'logs'}\n\n"
            "[bold]Next[/bold], in another terminal:\n"
            "  buffmoney merchants create --name 'My company'\n"
            "  export BUFFMONEY_API_KEY=bm_test_…\n"
            "  buffmoney rate-cards create --file card.json\n"
            "  buffmoney ledger verify\n\n"
            "[dim]Ctrl-C drains and stops everything.[/dim]"
        )
        self.console.print(Panel(text, expand=False, border_style="green"))

    # ---- stop

    async def _stop(self) -> None:
        if self.children:
            self.console.print("[dim]stopping: what was accepted is answered first (again Ctrl-C: at once)[/dim]")
        groups = ("edge", "core", "worker", "simulator", "valkey", "postgres")
        for group in groups:
            members = [child for child in self.children if child.role == group]
            if group == "edge":
                # With the supervisor's own copies closed, an edge's end closes its port, and clients see a refusal, not a hang.
                for listener in self._ports:
                    listener.close()
            if members:
                await self._stop_group(members)
        if self._lock is not None:
            (self.data_dir / RUN_FILE).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
        if self.children:
            self.console.print("[dim]stopped[/dim]")

    async def _stop_group(self, members: list[Child]) -> None:
        stopping: list[Awaitable[None]] = [child.stop(at_once=self._hurry.is_set() and child.name != "postgres") for child in members]
        gathered = asyncio.gather(*stopping)
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((gathered, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not gathered.done():
            for child in members:
                # PostgreSQL is already at its fastest clean stop: killing it would only make the next start longer.
                if child.process is not None and child.running and child.name != "postgres":
                    with contextlib.suppress(ProcessLookupError):
                        child.process.kill()
        hurry.cancel()
        await gathered


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(path: Path, lines: int = 15) -> str:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "(no log)"
    return str(redact(None, "", {"event": "\n".join(text.splitlines()[-lines:])})["event"])


def _shorten(path: Path) -> None:
    """Keeps a log below twice LOG_BYTES. Children append, so cutting the file under them loses nothing but what was moved aside."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_BYTES:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)
