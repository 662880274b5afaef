"""Messages that an edge delivers again, because it heard nothing: their senders must get the original outcome.

The newest replies are cached. For older ones, or those of a core that died, `commits.messages` says which commit a message was part
of, and what it got accepted there is an accepted event again, with its charge. Wallet commands need none of this: their
results are stored under their ids.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg

from buffmoney import _core
from buffmoney.base import queries
from buffmoney.metering import message as wire
from buffmoney.metering.loading import Loader

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SQL = queries.load("buffmoney.metering", "core.sql")
COMMITS_BACK = 50_000
"""How many commits are searched at most; ten minutes of them are wanted."""


async def restore(connection: Connection, loader: Loader, partition_id: int, commit_seq: int, messages: list[wire.Incoming]) -> int:
    """Finds the commits that these usage messages were part of, and notes in each what it got accepted there.

    Their keys are told to the engine, which then takes none of them again. Returns how many were found.
    """
    by_id = {message.message_id: message for message in messages}
    rows = await connection.fetch(SQL["commits_of_messages"], partition_id, list(by_id), commit_seq - COMMITS_BACK)
    for row in rows:
        message = by_id[row["id"]]
        await _restore_one(connection, loader, message, row["commit_id"], row["committed_at"])
    return len({row["id"] for row in rows})


async def _restore_one(connection: Connection, loader: Loader, message: wire.Incoming, commit_id: int, committed_at: datetime) -> None:
    events = {key_hash: (index, key) for key_hash, index, key in reversed(_core.usage_events(message.raw))}
    stored = await loader.find_keys([(message.tenant_id, key_hash) for key_hash in events])
    accepted = {events[row["key_hash"].bytes][1]: events[row["key_hash"].bytes][0] for row in stored if row["commit_id"] == commit_id}
    if not accepted:
        return
    charges = await connection.fetch(SQL["charges_in_commit"], message.tenant_id, commit_id, committed_at, list(accepted))
    message.original_charges.update({accepted[row["idempotency_key"]]: int(row["charge_nano"]) for row in charges})
