"""Commands about the audit log: who changed what, and whether the log is whole. They work on the database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from buffmoney.cli.access import MerchantId, Mode
from buffmoney.cli.context import DataDir, Json, as_owner, fail, say, say_json, settings_of

if TYPE_CHECKING:
    from buffmoney.audit import log
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Connection

SHOWN_DIFFERENCES = 20
LARGEST_PAGE = 200

audit = App(name="audit", help="The audit log: who changed what. Append-only, each entry chained to the one before.")


def register(app: App) -> None:
    """Adds the commands."""
    app.command(audit)


@audit.command(name="list")
def audit_list(
    *,
    merchant: MerchantId,
    mode: Mode = "sandbox",
    action: Annotated[str | None, Parameter(help="Only this action, for example rate_card.create.")] = None,
    actor: Annotated[str | None, Parameter(help="Only what this API key (key_…) or account of the machine did.")] = None,
    object_id: Annotated[str | None, Parameter(name="--object", help="Only what was done to this: rc_…, key_…, a metric's code.")] = None,
    from_: Annotated[str | None, Parameter(name="--from", help="Not before this time (RFC 3339).")] = None,
    to: Annotated[str | None, Parameter(help="Before this time (RFC 3339).")] = None,
    limit: Annotated[int, Parameter(help="How many at most.")] = 50,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what was changed, newest first. With --json, also from what to what.

    Example: `buffmoney audit list --merchant mer_… --mode live --action rate_card.create`
    """
    from buffmoney.audit import log
    from buffmoney.audit.api import filters_of
    from buffmoney.merchants.merchants import tenant_id_of

    if action is not None and action not in log.ACTIONS:
        raise ValueError(f"--action is one of {', '.join(log.ACTIONS)}")
    if limit < 1:
        raise ValueError("--limit is at least 1")
    filters = filters_of(action, actor, object_id, from_, to)

    async def work(connection: Connection, _settings: Settings) -> list[log.AuditEntry]:
        tenant_id = await tenant_id_of(connection, merchant, mode)
        found: list[log.AuditEntry] = []
        more = True
        while more and len(found) < limit:
            below = found[-1].sequence if found else None
            page, more = await log.page(connection, tenant_id, filters, below, min(limit - len(found), LARGEST_PAGE))
            found += page
        return found

    entries = as_owner(work, data_dir)
    if as_json:
        say_json({"entries": entries})
        return
    for one in entries:
        say(f"{one.sequence:>6}  {one.at:<27}  {one.action:<16}  {one.object_id:<28}  {one.actor_kind} {one.actor}  {one.request_id}")
    if not entries:
        say("No entry.")


@audit.command(name="verify")
def audit_verify(
    *,
    against: Annotated[
        Path | None, Parameter(help="An earlier report (--json), kept outside of the database: its newest entries must still be there.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> int:
    """Derive every chain of entries again and compare. Exit code 1 and the first differences if anything is off.

    Example: `buffmoney audit verify --json > noted.json`, and later `buffmoney audit verify --against noted.json`
    """
    from buffmoney.audit.verify import read_noted, verify

    noted = []
    if against is not None:
        try:
            noted = read_noted(against.read_bytes())
        except OSError as failure:
            fail(f"{against} cannot be read: {failure.strerror}")
    report = asyncio.run(verify(settings_of(data_dir).complete(), against=noted))
    if as_json:
        say_json(report)
    elif report.ok:
        say(f"The audit log is whole: {report.entries:,} entries of {report.tenants:,} tenants.")
    else:
        say(f"{report.difference_count:,} difference(s) in {report.entries:,} entries of {report.tenants:,} tenants:")
        for one in report.differences[:SHOWN_DIFFERENCES]:
            say(f"  {one.what} (tenant {one.tenant_id}, entry {one.sequence}): {one.detail}")
    return 0 if report.ok else 1
