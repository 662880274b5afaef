"""Who may write a partition: a lease in PostgreSQL with an epoch that every commit checks.

Time decides who may try, the epoch decides who can: a core that believes in a lease that has passed on fails at its next commit.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import psutil

from buffmoney.base import queries
from buffmoney.base.config import Settings
from buffmoney.ledger import heads
from buffmoney.metering.commit import LeaseLost

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.metering", "core.sql")
REQUIRED = ("fsync", "full_page_writes", "synchronous_commit")


class NotDurableError(Exception):
    """PostgreSQL is configured to lose what it has confirmed."""


class Lease(msgspec.Struct, frozen=True):
    """A partition in our hands: its epoch, and the commit after which to go on (head: 32 bytes, head_mac: 32 or empty)."""

    partition_id: int
    epoch: int
    holder: str
    commit_seq: int
    head: bytes
    head_mac: bytes


def new_holder() -> str:
    """A name for this process as a holder of leases, by which processes of the same machine can tell whether it still lives."""
    return f"{_machine()}:{os.getpid()}:{psutil.Process().create_time():.2f}:{secrets.token_hex(4)}"


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended. Of other machines nothing is known: their leases run out."""
    try:
        machine, pid, created, _ = holder.split(":")
        if machine != _machine():
            return False
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" != created or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.Error):
        return False


def _machine() -> str:
    # The same numbers mean other processes after a boot, or in another container.
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    return f"{boot.read_text().strip()}.{namespace.stat().st_ino}" if boot.exists() and namespace.exists() else f"{socket.gethostname()}.0"


async def take(connection: Connection, partition_id: int, holder: str, lease_s: float) -> Lease | None:
    """Takes the lease if it is free, has run out, is ours already, or was a dead process's. It always begins a new epoch.

    None: another core has it. Should a holder be taken for dead that is not, its next commit fails at the epoch: only time is lost.
    """
    before = await connection.fetchrow(SQL["read_partition"], partition_id)
    dead = before["holder"] if before is not None and is_dead(before["holder"]) else holder
    await connection.execute("SET lock_timeout = '500ms'")
    try:
        row = await connection.fetchrow(SQL["take_lease"], partition_id, holder, lease_s, dead)
    except asyncpg.LockNotAvailableError:
        # A core that was stopped between its last statement and its COMMIT keeps the row. Its lease is over, so its transaction is
        # ended; it has not committed, and finds that out when it goes on. The caller comes again.
        await connection.execute(SQL["end_overdue"], partition_id, f"buffmoney core {partition_id} writer%")
        return None
    finally:
        await connection.execute("RESET lock_timeout")
    if row is None:
        return None
    return Lease(partition_id, row["epoch"], holder, row["commit_seq"], row["head"], row["head_mac"])


async def renew(connection: Connection, lease: Lease, lease_s: float) -> None:
    """Raises LeaseLost if another core has begun an epoch."""
    if await connection.fetchval(SQL["renew_lease"], lease.partition_id, lease.epoch, lease.holder, lease_s) is None:
        raise LeaseLost(f"epoch {lease.epoch} of partition {lease.partition_id} is over")


async def release(connection: Connection, lease: Lease) -> None:
    """Lets the next core begin at once."""
    await connection.execute(SQL["release_lease"], lease.partition_id, lease.epoch, lease.holder)


async def assert_durable(connection: Connection, *, unsafe: bool) -> None:
    """Raises NotDurableError unless a commit of this connection survives a crash. unsafe: makes it one that does not."""
    if unsafe:
        await connection.execute("SET synchronous_commit = off")
        return
    for name in REQUIRED:
        value = await connection.fetchval("SELECT current_setting($1)", name)
        if value in ("off", "local", "remote_write") and not (name == "synchronous_commit" and value != "off"):
            raise NotDurableError(f"PostgreSQL has {name} = {value}: what it confirms may be lost. Set it to on.")


async def check_head(connection: Connection, lease: Lease, settings: Settings) -> None:
    """Compares the ledger with its signed heads, in the database and in the file outside. Raises heads.HeadMismatchError."""
    partition_id, key = lease.partition_id, settings.ledger_key
    stored = heads.Head(partition_id, lease.commit_seq, lease.head, lease.head_mac)
    if not heads.is_signed(key, stored):
        raise heads.HeadMismatchError(
            f"the head of partition {partition_id} at commit {lease.commit_seq} is not signed with this BUFFMONEY_SECRET"
        )
    if lease.commit_seq and await connection.fetchval(SQL["head_at"], partition_id, lease.commit_seq) != lease.head:
        raise heads.HeadMismatchError(f"commit {lease.commit_seq} of partition {partition_id} is missing or is not the one that was signed")
    outside = heads.read(settings.heads_file).get(partition_id) if settings.heads_file else None
    if outside is None:
        return
    if not heads.is_signed(key, outside):
        raise heads.HeadMismatchError(
            f"{settings.heads_file}: the head of partition {partition_id} is not signed with this BUFFMONEY_SECRET"
        )
    if outside.commit_seq == 0:
        return
    found = await connection.fetchval(SQL["head_at"], partition_id, outside.commit_seq)
    if outside.commit_seq > lease.commit_seq or found != outside.head:
        raise heads.HeadMismatchError(
            f"{settings.heads_file} says that partition {partition_id} had commit {outside.commit_seq}; the ledger is at {lease.commit_seq}"
            + ("" if found is None else " with another commit in its place")
        )
