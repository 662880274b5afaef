"""Proxies that know where a message ends: PostgreSQL's protocol, Redis', HTTP/1.1. Each reports its round trips to a `Course`."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import buffmoney
from buffmoney.base import queries
from tests.faults.course import Course, Step, Verdict

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Address = str | tuple[str, int]
"""of a Unix socket, or host and port"""

_SSL_REQUEST, _CANCEL_REQUEST = 80_877_103, 80_877_102
_WITHOUT_EFFECT = re.compile(r"(BEGIN|SET|RESET|ROLLBACK|SELECT set_config|SELECT pg_catalog|SHOW|DISCARD)\b", re.IGNORECASE)
_WRITES = re.compile(r"(INSERT|UPDATE|DELETE|WITH|COPY)\b", re.IGNORECASE)
_LOOKS_FOR_WORK = {"claim", "claim_due", "refused_grants"}
_ALL_THE_TIME = {"lag", "renew_lease", "take_lease", "read_partition", "release_lease", "end_predecessors", "end_overdue", "head_at"}
_ASIDE = re.compile(r"buffmoney worker$|buffmoney core \d+ (lease|chores|keys)$")
"""connections, by the name they give themselves, that have nothing to do with payments: roll-ups, leases, upkeep"""


@dataclass
class Turn:
    """What was sent up to the point from which its sender waits."""

    step: Step | None = None
    hold: bool = False


@dataclass
class Wire:
    """One kind of proxy: listens on a port of 127.0.0.1 and leads to `target`."""

    course: Course
    target: Address
    server: str
    port: int = 0
    _listener: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listens on a free port."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends the listener and every connection."""
        if self._listener is not None:
            self._listener.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, client_in: Reader, client_out: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [client_out]
        try:
            if isinstance(self.target, str):
                server_in, server_out = await asyncio.open_unix_connection(self.target)
            else:
                server_in, server_out = await asyncio.open_connection(*self.target)
            writers.append(server_out)
            owner = await self._owner(client_out)
            await self.serve(owner, client_in, client_out, server_in, server_out)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            for writer in writers:
                writer.transport.abort()

    async def _owner(self, client_out: Writer) -> str:
        role, pid = await asyncio.to_thread(self.course.role_of, client_out.get_extra_info("peername")[1])
        self.course.heard.add(pid)
        return role

    async def serve(self, owner: str, client_in: Reader, client_out: Writer, server_in: Reader, server_out: Writer) -> None:
        """One connection, until either end closes it or somebody is killed."""
        raise NotImplementedError

    async def both(self, up: Awaitable[None], down: Awaitable[None]) -> None:
        """Both directions, until one of them ends."""
        tasks = [asyncio.ensure_future(up), asyncio.ensure_future(down)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def let_pass(self, turn: Turn) -> bool:
        """Whether a turn may be forwarded; False: its sender is dead."""
        if turn.step is None or turn.step.late:
            return True
        verdict = await self.course.meet(turn.step)
        turn.hold = verdict is Verdict.HOLD
        return verdict is not Verdict.DROP


# ---------------------------------------------------------------- PostgreSQL


@dataclass
class _Session:
    """What is known of one connection to PostgreSQL."""

    owner: str
    statements: dict[str, str] = field(default_factory=dict)
    bound: str = ""
    executed: list[str] = field(default_factory=list)
    in_transaction: bool = False
    transaction: list[str] = field(default_factory=list)
    wrote: bool = False

    def read(self, kind: bytes, body: bytes) -> None:
        """A message of the client's."""
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self.statements[name.decode()] = sql.decode()
        elif kind == b"B":
            self.bound = body.split(b"\0", 2)[1].decode()
        elif kind == b"E":
            self.executed.append(self.statements.get(self.bound, "?"))
        elif kind == b"Q":
            self.executed.append(body.rstrip(b"\0").decode())
        elif kind in b"cf":
            self.executed.append("COPY done")

    def step(self) -> Step | None:
        """The step that the turn is, if it is one."""
        executed, self.executed = self.executed, []
        if not executed or self.owner == "other":
            return None
        text = _bare(executed[-1])
        if text.upper().startswith("BEGIN"):
            self.in_transaction, self.wrote, self.transaction = True, False, []
            return None
        name, wrote = _name(text), self.wrote
        if text.upper().startswith(("COMMIT", "ROLLBACK")):
            before, self.in_transaction = tuple(self.transaction), False
            self.wrote, self.transaction = False, []
            if not wrote or text.upper().startswith("ROLLBACK"):
                return None
            return Step(self.owner, "postgres", f"COMMIT of {before[-1] if before else '?'}", transaction=before)
        if _WITHOUT_EFFECT.match(text) or name in _ALL_THE_TIME:
            return None
        writes = _WRITES.match(text) is not None
        if name in _LOOKS_FOR_WORK:
            return Step(self.owner, "postgres", name, late=True, effective=False)
        self.note(name, writes)
        effective = writes and not self.in_transaction
        return Step(self.owner, "postgres", name, effective=effective, transaction=tuple(self.transaction))

    def note(self, name: str, writes: bool) -> None:
        """A statement that counts."""
        if self.in_transaction:
            self.transaction.append(name)
            self.wrote = self.wrote or writes


class PostgresWire(Wire):
    """In front of PostgreSQL."""

    async def serve(self, owner: str, client_in: Reader, client_out: Writer, server_in: Reader, server_out: Writer) -> None:
        """Prepared and simple statements, and COPY into the server."""
        startup = await _startup(client_in, client_out)
        server_out.write(startup)
        if struct.unpack("!I", startup[4:8])[0] == _CANCEL_REQUEST:
            await server_out.drain()
            return
        fields = startup[8:].split(b"\0")
        named = dict(zip(fields[::2], fields[1::2], strict=False)).get(b"application_name", b"").decode()
        session = _Session("other" if _ASIDE.match(named) else owner)
        turns: asyncio.Queue[Turn] = asyncio.Queue()
        await self.both(self._up(session, turns, client_in, server_out), self._down(session, turns, server_in, client_out))

    async def _up(self, session: _Session, turns: asyncio.Queue[Turn], source: Reader, target: Writer) -> None:
        waiting = b""
        while True:
            kind, message = await _message(source)
            session.read(kind, message[5:])
            waiting += message
            if kind not in b"QSHcfpdX":
                continue
            if kind in b"QScf":
                turn = Turn(session.step())
                if not await self.let_pass(turn):
                    return
                turns.put_nowait(turn)
            target.write(waiting)
            waiting = b""
            await target.drain()

    async def _down(self, session: _Session, turns: asyncio.Queue[Turn], source: Reader, target: Writer) -> None:
        turn, kept, rows = Turn(), b"", 0
        while True:
            kind, message = await _message(source)
            if turn.step is None and not turns.empty() and kind not in b"NSA":
                turn = turns.get_nowait()
            kept += message
            if kind == b"C":
                rows = int(message[5:].rstrip(b"\0").split()[-1]) if message[-2:-1].isdigit() else 0
            ended = kind in b"ZG"
            step = turn.step
            if ended and step is not None:
                if step.late and rows:
                    session.note(step.name, writes=True)
                    turn.hold = await self.course.meet(step) is Verdict.HOLD
                if turn.hold:
                    await self.course.answered(step)
                    return
            if ended or step is None or not (turn.hold or step.late):
                target.write(kept)
                kept = b""
                await target.drain()
            if ended:
                turn, rows = Turn(), 0


async def _startup(client_in: Reader, client_out: Writer) -> bytes:
    while True:
        head = await client_in.readexactly(8)
        length, code = struct.unpack("!II", head)
        if code != _SSL_REQUEST:
            return head + await client_in.readexactly(length - 8)
        client_out.write(b"N")


async def _message(source: Reader) -> tuple[bytes, bytes]:
    head = await source.readexactly(5)
    return head[:1], head + await source.readexactly(struct.unpack("!I", head[1:])[0] - 4)


def _bare(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--")).strip()


def _name(text: str) -> str:
    """What a statement is called in its package's file, else its first words."""
    return _names().get(text.rstrip("; "), "COPY " + text.split()[1] if text.startswith("COPY ") else " ".join(text.split()[:5])[:50])


@cache
def _names() -> dict[str, str]:
    home = Path(buffmoney.__file__).parent
    files = [file for file in home.rglob("*.sql") if "migrations" not in file.parts and "simulator" not in file.parts]
    return {_bare(sql): name for file in files for name, sql in queries.parse(file.read_text()).items()}


# ---------------------------------------------------------------- Redis


class RedisWire(Wire):
    """In front of Valkey: messages into an inbox, replies to whoever asked, and both being taken out."""

    async def serve(self, owner: str, client_in: Reader, client_out: Writer, server_in: Reader, server_out: Writer) -> None:
        """What is sent at once is one round trip, with one step at most."""
        turn = Turn()

        async def up() -> None:
            nonlocal turn
            while data := await client_in.read(1 << 20):
                turn = Turn(None if owner == "other" else _redis_step(owner, data))
                if not await self.let_pass(turn):
                    return
                server_out.write(data)
                await server_out.drain()

        async def down() -> None:
            while data := await server_in.read(1 << 20):
                step = turn.step
                if step is not None and step.late and not data.startswith((b"*-1", b"_")):
                    turn.hold = await self.course.meet(step) is Verdict.HOLD
                if step is not None and turn.hold:
                    await self.course.answered(step)
                    return
                client_out.write(data)
                await client_out.drain()

        await self.both(up(), down())


def _redis_step(owner: str, data: bytes) -> Step | None:
    if b"BLMPOP" in data[:24]:
        return Step(owner, "valkey", "take a reply" if b"\r\nreply:" in data else "take from the inbox", late=True)
    if b"LPUSH\r\n" in data and b":inbox\r\n" in data:
        return Step(owner, "valkey", "send to the inbox")
    if b"RPUSH\r\n" in data and b"\r\nreply:" in data:
        return Step(owner, "valkey", "publish and reply")
    return None


# ---------------------------------------------------------------- HTTP


class HttpWire(Wire):
    """Between the product and the channels. server `simulator`: requests of the product's; `edge`: what others ask of the edge."""

    async def serve(self, owner: str, client_in: Reader, client_out: Writer, server_in: Reader, server_out: Writer) -> None:
        """Requests one after the other, each with a length."""
        turn = Turn()
        whose = "edge" if self.server == "edge" else owner

        async def up() -> None:
            nonlocal turn
            while True:
                head = await client_in.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                body = await client_in.readexactly(int(length[1])) if length else b""
                name = _http_name(head, body)
                if self.course.unanswered_callbacks and " /callbacks/" in name:
                    client_out.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                    continue
                turn = Turn(None if whose == "other" else Step(whose, self.server, name))
                if not await self.let_pass(turn):
                    return
                server_out.write(head + body)
                await server_out.drain()

        async def down() -> None:
            while data := await server_in.read(1 << 20):
                if turn.hold and turn.step is not None:
                    await self.course.answered(turn.step)
                    return
                client_out.write(data)
                await client_out.drain()

        await self.both(up(), down())


def _http_name(head: bytes, body: bytes) -> str:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    parts = urlsplit(target)
    fields = dict(parse_qsl(body.decode("latin-1"))) if b"form-urlencoded" in head else {}
    called = fields.get("method") or parse_qs(parts.query).get("method", [""])[0]
    path = re.sub(r"/(?=[^/]*\d)[\w.-]{12,}", "/…", parts.path)
    return f"{method} {called or path}"


# ---------------------------------------------------------------- addresses


def postgres_address(url: str) -> tuple[Address, str]:
    """Where a PostgreSQL URL leads, and its user and password."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    port = int(query.get("port", [str(parts.port or 5432)])[0])
    directory = query.get("host", [""])[0]
    target: Address = f"{unquote(directory)}/.s.PGSQL.{port}" if directory else (parts.hostname or "127.0.0.1", port)
    return target, parts.netloc.rpartition("@")[0]


def redis_address(url: str) -> tuple[Address, str]:
    """Where a Redis URL leads, and its credentials with the @ behind them."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return unquote(parts.path), ""
    credentials, at, _ = parts.netloc.rpartition("@")
    return (parts.hostname or "127.0.0.1", parts.port or 6379), credentials + at
