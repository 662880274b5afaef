"""Where a merchant's billing periods begin: the setting in force, and the one to come.

A change takes effect when the period ends that is open as it is made. From there one period, a short one, runs to the next boundary by the
new setting. So whatever was counted and charged stays in its period. A further change before then takes the place of the first, with the
same start: rows are only added, and of the same start the highest revision counts. Back to the setting in force is such a change, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from buffmoney.audit import log
from buffmoney.base import queries
from buffmoney.base.clock import Clock, format_time, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.periods import Periods, Setting, check_anchor_day, time_zone
from buffmoney.base.wire import Time, TimeZone

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

MAX_REVISIONS = 100
"""how often what is to come may be changed: every reader of periods passes over all of them"""
_SQL = queries.load("buffmoney.merchants")


class PeriodSetting(msgspec.Struct, frozen=True, rename="camel"):
    """A setting of billing periods, which begin at midnight of the time zone.

    anchorDay: the day of the month, 1 to 31; a month without it has its last. effectiveFrom: by when usage occurred; null: since ever.
    periodStart, periodEnd: of the period that is open, or of the first one by a setting to come.
    """

    time_zone: TimeZone
    anchor_day: int
    effective_from: Time | None
    period_start: Time
    period_end: Time


class BillingPeriod(msgspec.Struct, frozen=True, rename="camel"):
    """Where billing periods begin.

    inForce: the setting of the open period. scheduled: the one that takes its place when that period ends; null: none does.
    """

    in_force: PeriodSetting
    scheduled: PeriodSetting | None


class Changed(msgspec.Struct, frozen=True):
    """What is set now. catalog_version: of the catalogue that has the change; None: nothing has changed."""

    billing_period: BillingPeriod
    catalog_version: int | None


async def read(connection: Connection, clock: Clock, tenant_id: int) -> BillingPeriod:
    """A tenant's settings as they are shown."""
    return _shown(await _periods(connection, tenant_id), clock.now_us())


async def change(
    connection: Connection, clock: Clock, tenant_id: int, merchant_id: str, zone: str | None, anchor_day: int | None, *, by: log.Author
) -> Changed:
    """Lets periods begin elsewhere from the end of the open one on. None: as it was set last. What is set already changes nothing.

    merchant_id: the tenant's, for the audit log. Raises Problem invalid_billing_period or too_many_changes.
    """
    zone = None if zone is None else time_zone(zone, "timeZone", "invalid_billing_period")
    anchor_day = None if anchor_day is None else check_anchor_day(anchor_day, "anchorDay", "invalid_billing_period")
    async with connection.transaction():
        # Changes of a tenant are made one after the other, and which period is open is asked under the lock.
        await connection.execute(_SQL["lock_tenant"], tenant_id)
        now_us = clock.now_us()
        periods = await _periods(connection, tenant_id)
        last = periods.settings[-1]
        wanted = (zone or last.zone, anchor_day or last.anchor_day)
        if wanted == (last.zone, last.anchor_day):
            return Changed(_shown(periods, now_us), None)
        effective = to_datetime(periods.changes_at(now_us))
        revision: int = await connection.fetchval(_SQL["next_revision"], tenant_id, effective)
        if revision > MAX_REVISIONS:
            raise Problem("too_many_changes", f"What is to come may be changed {MAX_REVISIONS} times: wait until it takes effect.")
        await connection.execute(_SQL["insert_period_setting"], tenant_id, effective, revision, *wanted, to_datetime(now_us))
        version: int = await connection.fetchval(_SQL["next_catalog_version"], tenant_id)
        periods = await _periods(connection, tenant_id)
        told = (_told(setting) for setting in (last, periods.settings[-1]))
        await log.record(connection, by, tenant_id, "merchant.change_billing_period", merchant_id, *told)
    return Changed(_shown(periods, now_us), version)


async def _periods(connection: Connection, tenant_id: int) -> Periods:
    return Periods.stored(await connection.fetchval(_SQL["period_settings"], tenant_id))


def _shown(periods: Periods, now_us: int) -> BillingPeriod:
    in_force, last = periods.at(now_us), periods.settings[-1]
    scheduled = None
    # Where what was to come has been taken back, the last setting is that in force once more.
    if last.since_us is not None and last.since_us > now_us and (last.zone, last.anchor_day) != (in_force.zone, in_force.anchor_day):
        scheduled = _setting(last, periods.of(last.since_us))
    return BillingPeriod(_setting(in_force, periods.of(now_us)), scheduled)


def _setting(setting: Setting, period: tuple[int, int]) -> PeriodSetting:
    return PeriodSetting(setting.zone, setting.anchor_day, _since(setting), *map(format_time, period))


def _told(setting: Setting) -> dict[str, Any]:
    return {"timeZone": setting.zone, "anchorDay": setting.anchor_day, "effectiveFrom": _since(setting)}


def _since(setting: Setting) -> str | None:
    return None if setting.since_us is None else format_time(setting.since_us)
