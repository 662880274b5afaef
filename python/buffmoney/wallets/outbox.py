"""Wallet commands that follow from a transaction: written in it, applied after it, once.

What a payment grants is enqueued in the payment's own transaction, so it is there if and only if the payment is. Whoever committed
delivers it at once; a worker delivers whatever was left over, until the core has decided it. The core remembers commands by their
ids, which here come from what caused them (`source`), so that none of this can apply anything twice. Nor can it say of a command that
it was refused and have it applied later by a copy that was still on its way: commands from here say `decideOnce`, and the core then
remembers refusals like everything else.

A crash before the commit leaves nothing. One after it leaves a row without a result, which a worker finds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec
from prometheus_client import Counter, Gauge

from buffmoney import _core
from buffmoney.base import queries, telemetry
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.database import Database
from buffmoney.base.errors import DatabaseUnavailable, Problem
from buffmoney.base.http import CommandBus, Tenant

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

MAX_SOURCE_BYTES = 255
PATIENCE_S = 2.0
"""How long whoever committed waits for the core: payment channels want their answer within five seconds. A worker has more time."""
HEAD_START = timedelta(seconds=2)
"""A command this young is left to whoever committed it."""
AT_ONCE = 500
"""commands that a worker has on their way at the same time, and takes up in one round"""
LONGEST_REST_S = 5
"""between two attempts: the first is repeated after a second, then two, then four"""
TICK_S = 0.25
DRAIN_S = 3.0
"""how long a worker that stops waits for what is on its way"""

DECIDED = Counter("buffmoney_outbox_decided", "Commands of the outbox that the core decided, by outcome.", ["outcome"])
UNDECIDED = Counter(
    "buffmoney_outbox_attempts_in_vain", "Attempts to deliver a command of the outbox that brought no answer, by reason.", ["reason"]
)
LAG = Gauge("buffmoney_outbox_lag_seconds", "Age of the oldest command of the outbox that waits for its outcome.")

_SQL = queries.load("buffmoney.wallets", "outbox.sql")
_log = telemetry.logger("outbox")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Delivery(msgspec.Struct, frozen=True):
    """What became of a command. Undecided: neither applied_at nor refused. refused: the core's code. answer: what the core said."""

    command_id: bytes
    source: str
    applied_at: datetime | None
    refused: str | None
    answer: dict[str, Any] | None


class Command(msgspec.Struct, frozen=True):
    """A command as it is stored: the core tells a repetition from another command by these bytes."""

    command_id: bytes
    text: str


def command_id(tenant_id: int, source: str) -> bytes:
    """The id of the command that comes from a source. It is also the id of the grant that the command makes."""
    return _core.key_hash(tenant_id, f"outbox\0{source}")


async def enqueue(connection: Connection, clock: Clock, tenant_id: int, source: str, command: dict[str, object]) -> Command:
    """Writes a command in the caller's transaction and gives it as it is stored, to be delivered after the commit.

    command: as the core takes it, without an id, of a type that names a `customer` and carries no events. source: what it follows from, 1
    to 255 bytes; the same source again with the same command is the same command. Raises ValueError if it comes with another one.
    Commands may be applied in any order: one that needs the effect of another is enqueued once that is applied.
    """
    if not 1 <= len(source.encode()) <= MAX_SOURCE_BYTES:
        raise ValueError(f"a source has 1 to {MAX_SOURCE_BYTES} bytes")
    identity = command_id(tenant_id, source)
    text = _encode({**command, "commandId": identity.hex(), "decideOnce": True}).decode()
    now = to_datetime(clock.now_us())
    arguments = (tenant_id, UUID(bytes=identity), source, command["customer"], text, now, now + HEAD_START)
    stored = await connection.fetchval(_SQL["enqueue"], *arguments) or await connection.fetchval(_SQL["same"], *arguments[:2], text)
    if stored is None:
        raise ValueError(f"{source} has enqueued another command before")
    return Command(identity, stored)


async def deliver(
    bus: CommandBus, database: Database, clock: Clock, tenant: Tenant, commands: Sequence[Command], *, patience_s: float = PATIENCE_S
) -> list[dict[str, Any] | None]:
    """Sends commands of which the caller has just seen the commit to the core, keeps its answers, and gives them.

    An answer is `{"ok": true, …}` or `{"ok": false, "code", "detail"}`. None: not decided yet, a worker goes on; raises nothing of that.
    """
    if not commands:
        return []
    return await _send(bus, database, clock, tenant, commands, patience_s)


async def deliver_one(
    bus: CommandBus, database: Database, clock: Clock, tenant: Tenant, command_id: bytes, *, patience_s: float = PATIENCE_S
) -> dict[str, Any] | None:
    """The same with one that was enqueued some time ago, whoever did it. If it was decided before, its answer is the one from then.

    Raises ValueError if there is no such command.
    """
    try:
        async with database.tenant(tenant.tenant_id) as connection:
            row = await connection.fetchrow(_SQL["read_one"], tenant.tenant_id, UUID(bytes=command_id))
        if row is None:
            raise ValueError(f"no command {command_id.hex()} was enqueued and committed")
        if row["result"] is not None:
            answer: dict[str, Any] = _decode(row["result"])
            return answer
        return (await _send(bus, database, clock, tenant, [Command(command_id, row["command"])], patience_s))[0]
    except (DatabaseUnavailable, asyncpg.PostgresError, OSError) as failure:
        _in_vain(failure)
        return None


async def find(connection: Connection, tenant_id: int, command_ids: Iterable[bytes]) -> dict[bytes, Delivery]:
    """What became of these commands, by id; those that were never enqueued are missing."""
    rows = await connection.fetch(_SQL["find"], tenant_id, [UUID(bytes=one) for one in command_ids])
    return {
        row["command_id"].bytes: Delivery(
            row["command_id"].bytes,
            row["source"],
            row["applied_at"],
            row["refused"],
            None if row["result"] is None else _decode(row["result"]),
        )
        for row in rows
    }


async def keep_delivering(bus: CommandBus, database: Database, clock: Clock, stopping: asyncio.Event) -> None:
    """Delivers what others have left undecided, over all tenants, until `stopping` is set. Outages are waited out.

    Any number of workers may do this at once. database: of a role that sees all tenants.
    """
    on_their_way: dict[tuple[int, UUID], asyncio.Task[None]] = {}
    while not stopping.is_set():
        # One that waits long for its core keeps nobody else waiting.
        on_their_way = {key: task for key, task in on_their_way.items() if not task.done()}
        rows: list[asyncpg.Record] = []
        try:
            rows = await _claim(database, clock, AT_ONCE - len(on_their_way))
        except (DatabaseUnavailable, asyncpg.PostgresError, OSError) as failure:
            _in_vain(failure)
        for row in rows:
            key = (row["tenant_id"], row["command_id"])
            if key not in on_their_way:
                on_their_way[key] = asyncio.create_task(_redeliver(bus, database, clock, row), name="outbox delivery")
        # Also after a full round: while a core is away, all that is due would come round and round.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), TICK_S)
    if on_their_way:
        _, late = await asyncio.wait(on_their_way.values(), timeout=DRAIN_S)
        for task in late:
            task.cancel()


async def _claim(database: Database, clock: Clock, most: int) -> list[asyncpg.Record]:
    """Commands that are due, as many as there are and at most `most`; nobody else takes them for a moment."""
    now = to_datetime(clock.now_us())
    # Not waiting for the disk, under the load of which it would hold up commits: what a crash takes back is claimed again.
    async with database.transaction(durable=False) as connection:
        rows = await connection.fetch(_SQL["claim"], now, most, LONGEST_REST_S)
        LAG.set(await connection.fetchval(_SQL["lag"], now))
    return rows


async def _redeliver(bus: CommandBus, database: Database, clock: Clock, row: asyncpg.Record) -> None:
    tenant = Tenant(row["tenant_id"], row["merchant_id"], row["mode"], row["partition_id"], row["currency"], key_id="")
    await _send(bus, database, clock, tenant, [Command(row["command_id"].bytes, row["command"])], None)


async def _send(
    bus: CommandBus, database: Database, clock: Clock, tenant: Tenant, commands: Sequence[Command], patience_s: float | None
) -> list[dict[str, Any] | None]:
    answers = await asyncio.gather(*(_ask(bus, tenant, command, patience_s) for command in commands))
    decided = [(command, answer) for command, answer in zip(commands, answers, strict=True) if answer is not None]
    try:
        if decided:
            await _settle(database, clock, tenant, decided)
    except (DatabaseUnavailable, asyncpg.PostgresError, OSError) as failure:
        # They are decided all the same: a worker will get the same answers and keep them.
        _in_vain(failure)
    return answers


async def _ask(bus: CommandBus, tenant: Tenant, command: Command, patience_s: float | None) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(patience_s):
            return await bus.command(tenant, _decode(command.text))
    except (Problem, TimeoutError) as failure:
        _in_vain(failure)
        return None


async def _settle(database: Database, clock: Clock, tenant: Tenant, decided: Sequence[tuple[Command, dict[str, Any]]]) -> None:
    answers = {UUID(bytes=command.command_id): answer for command, answer in decided}
    refused = [None if answer.get("ok") else str(answer.get("code", "")) for answer in answers.values()]
    texts = [_encode(answer).decode() for answer in answers.values()]
    # Not waiting for the disk: what a crash takes back, the core says again.
    async with database.tenant(tenant.tenant_id, durable=False) as connection:
        kept = await connection.fetch(_SQL["settle"], tenant.tenant_id, to_datetime(clock.now_us()), list(answers), refused, texts)
    for row in kept:
        answer = answers[row["command_id"]]
        DECIDED.labels("applied" if answer.get("ok") else str(answer.get("code", ""))).inc()
        if not answer.get("ok"):
            told = {"code": answer.get("code"), "detail": answer.get("detail")}
            _log.warning("command_refused", tenant=tenant.tenant_id, command=row["command_id"].hex, **told)


def _in_vain(failure: Exception) -> None:
    reason = (
        failure.code if isinstance(failure, Problem) else "no_answer_in_time" if isinstance(failure, TimeoutError) else "database_error"
    )
    UNDECIDED.labels(reason).inc()
    if reason == "database_error":
        _log.warning("delivery_failed", detail=f"{type(failure).__name__}: {failure}")
