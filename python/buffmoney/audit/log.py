"""Writing the audit log, and reading it a page at a time."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import msgspec

from buffmoney.audit import chain
from buffmoney.base import queries
from buffmoney.base.clock import Clock, format_time, to_datetime
from buffmoney.base.config import Settings
from buffmoney.base.ids import new_request_id
from buffmoney.base.telemetry import without_keys
from buffmoney.base.wire import Time

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection
    from buffmoney.base.http import Call

ActorKind = Literal["api_key", "command_line", "system"]
Action = Literal[
    "api_key.create",
    "api_key.revoke",
    "api_key.rotate",
    "audit_log.begin",
    "channel_account.create",
    "channel_account.reseal",
    "channel_account.retire",
    "channel_account.rotate",
    "customer.assign_rate_card",
    "merchant.change_billing_period",
    "merchant.create",
    "metric.create",
    "product.create",
    "promotion.create",
    "promotion.end",
    "rate_card.create",
    "rate_card.delete",
    "rate_card.publish",
    "rate_card.update",
    "refund.create",
    "top_up.cancel",
    "top_up_settings.update",
]
ACTIONS: tuple[str, ...] = get_args(Action)
"""everything that is told; a new mutation adds its own"""
PAGE_BYTES = 1 << 20
"""A page of entries ends where their before and after have become this long."""

_SQL = queries.load("buffmoney.audit")


class AuditLogBrokenError(RuntimeError):
    """The newest entry of a tenant is not signed by us, so nothing may be written after it. The message says which tenant."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and in which request. Whatever changes something takes one."""

    kind: ActorKind
    name: str
    """the id of an API key, an account of the machine, or a job of ours"""
    request_id: str
    clock: Clock
    audit_key: bytes = field(repr=False)
    cash_key: bytes = field(repr=False)
    """what signs the heads of the audit log and of the cash book"""

    @classmethod
    def of(cls, call: Call) -> Self:
        """The API key of a request."""
        services = call.services
        settings = services.settings
        return cls("api_key", call.tenant.key_id, call.request_id, services.clock, settings.audit_key, settings.cash_key)

    @classmethod
    def command_line(cls, settings: Settings, clock: Clock) -> Self:
        """The account that runs this command: that of the process, not what its environment says."""
        try:
            account = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            account = f"uid {os.getuid()}"
        return cls("command_line", account, new_request_id(clock), clock, settings.audit_key, settings.cash_key)

    @classmethod
    def system(cls, settings: Settings, clock: Clock, job: str) -> Self:
        """BuffMoney itself."""
        return cls("system", job, new_request_id(clock), clock, settings.audit_key, settings.cash_key)


class Filters(msgspec.Struct, frozen=True):
    """Which entries are wanted. Times are half-open."""

    action: str | None = None
    actor: str | None = None
    object_id: str | None = None
    from_: datetime | None = None
    to: datetime | None = None


class AuditEntry(msgspec.Struct, rename="camel"):
    """One change.

    sequence: from 1 without gaps. at: when. actorKind: an API key, an account of the machine, or a job of ours. actor: its id or name.
    action: what was done. objectKind: to what kind of thing. objectId: to which. before: what it was; null: it was made. after: what it is;
    null: it is gone. requestId: the request that did it. chainHash: hexadecimal.
    """

    sequence: int
    at: Time
    actor_kind: ActorKind
    actor: str
    action: Action
    object_kind: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str
    chain_hash: str


async def begin(connection: Connection, by: Author, tenant_id: int) -> None:
    """Opens the log of a new tenant. connection: the schema's owner's, in the transaction that makes the tenant."""
    await connection.execute(_SQL["begin"], tenant_id, chain.START, chain.sign(by.audit_key, tenant_id, 0, chain.START))


async def begin_where_missing(connection: Connection, by: Author) -> int:
    """Opens the logs of tenants that are older than this table; each begins by saying so. Gives their number."""
    rows = await connection.fetch(_SQL["without_log"])
    for row in rows:
        await begin(connection, by, row["tenant_id"])
        after = {"merchantId": row["merchant_id"], "mode": row["mode"]}
        await record(connection, by, row["tenant_id"], "audit_log.begin", row["merchant_id"], None, after)
    return len(rows)


async def record(
    connection: Connection,
    by: Author,
    tenant_id: int,
    action: Action,
    object_id: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> int:
    """Writes one entry, in the caller's transaction, and gives its number. action: `object_kind.verb`.

    before, after: JSON without floats, as the API shows the object; None where there was or is none. Call it last: it holds the
    tenant's head until the transaction ends. Raises AuditLogBrokenError.
    """
    assert connection.is_in_transaction(), "an entry belongs to the transaction of its change"
    head = await connection.fetchrow(_SQL["lock_head"], tenant_id)
    if head is None or not chain.is_signed(by.audit_key, tenant_id, head["seq"], head["chain_hash"], head["mac"]):
        state = "missing" if head is None else "not signed with this BUFFMONEY_SECRET"
        raise AuditLogBrokenError(f"the head of the audit log of tenant {tenant_id} is {state}: see `buffmoney audit verify`")
    entry = chain.Entry(
        tenant_id=tenant_id,
        seq=head["seq"] + 1,
        at=to_datetime(by.clock.now_us()),
        actor_kind=by.kind,
        actor=by.name,
        action=action,
        object_kind=action.partition(".")[0],
        object_id=object_id,
        before=_json(before),
        after=_json(after),
        request_id=by.request_id,
    )
    chain_hash = chain.chained(head["chain_hash"], entry)
    await connection.execute(
        _SQL["append"],
        tenant_id,
        entry.seq,
        chain_hash,
        chain.sign(by.audit_key, tenant_id, entry.seq, chain_hash),
        entry.at,
        entry.actor_kind,
        entry.actor,
        entry.action,
        entry.object_kind,
        entry.object_id,
        entry.before,
        entry.after,
        entry.request_id,
    )
    return entry.seq


async def page(connection: Connection, tenant_id: int, filters: Filters, below: int | None, limit: int) -> tuple[list[AuditEntry], bool]:
    """Entries before number `below`, newest first, and whether there are more. At most `limit`, fewer where they are long."""
    wanted = (filters.action, filters.actor, filters.object_id, filters.from_, filters.to)
    rows = await connection.fetch(_SQL["page"], tenant_id, below, *wanted, limit, PAGE_BYTES)
    more = bool(rows) and await connection.fetchval(_SQL["is_more"], tenant_id, rows[-1]["seq"], *wanted)
    return [_listed(row) for row in rows], more


def _json(content: Mapping[str, Any] | None) -> str | None:
    if content is None:
        return None
    text = chain.canonical(content)
    # No caller gives a key, but a client may have written one into a name or a dimension.
    masked = without_keys(text)
    # Names that differed only in what was masked are one now, as they will be in the database.
    return text if masked == text else chain.canonical(msgspec.json.decode(masked))


def _listed(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        row["seq"],
        format_time(row["at"]),
        row["actor_kind"],
        row["actor"],
        row["action"],
        row["object_kind"],
        row["object_id"],
        None if row["before"] is None else msgspec.json.decode(row["before"]),
        None if row["after"] is None else msgspec.json.decode(row["after"]),
        row["request_id"],
        row["chain_hash"].hex(),
    )
