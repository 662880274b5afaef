"""The route of the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from buffmoney.audit import log
from buffmoney.base import cursors
from buffmoney.base.clock import to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Time


class AuditQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which entries.

    action: of one kind. actor: a key's id, or an account of the machine. objectId: of a rate card, a key, a metric's code. from, to: RFC
    3339, half-open.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None
    action: log.Action | None = None
    actor: str | None = None
    object_id: str | None = None
    from_: Time | None = msgspec.field(default=None, name="from")
    to: Time | None = None


class AuditPage(msgspec.Struct, rename="camel"):
    """Newest first; a page of long entries may hold fewer than `limit`."""

    data: list[log.AuditEntry]
    next_cursor: str | None


async def list_audit_log(call: Call) -> Answer:
    """A page of the tenant's entries."""
    query: AuditQuery = call.query
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    filters = filters_of(query.action, query.actor, query.object_id, query.from_, query.to)
    scope = "audit-log\0" + msgspec.json.encode(filters).decode()
    below = None
    if query.cursor is not None:
        (below,) = cursors.unseal(secret, tenant_id, scope, query.cursor)
    async with call.transaction() as connection:
        data, more = await log.page(connection, tenant_id, filters, below, query.limit)
    return Answer(AuditPage(data, cursors.seal(secret, tenant_id, scope, [data[-1].sequence]) if more else None))


def filters_of(action: str | None, actor: str | None, object_id: str | None, from_: str | None, to: str | None) -> log.Filters:
    """The filters as clients write them. Raises Problem invalid_time or invalid_parameter."""
    from_us = None if from_ is None else parse_time(from_, "from")
    to_us = None if to is None else parse_time(to, "to")
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise Problem("invalid_parameter", "from must be before to.", "from")
    return log.Filters(
        action, actor, object_id, None if from_us is None else to_datetime(from_us), None if to_us is None else to_datetime(to_us)
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/audit-log",
        handler=list_audit_log,
        summary="List changes",
        tag="Audit log",
        description="Who changed what: merchants, API keys, metrics, rate cards. What moves a balance is in the customer's history.",
        query=AuditQuery,
        answer=AuditPage,
        errors=("invalid_cursor", "invalid_time"),
    ),
)
