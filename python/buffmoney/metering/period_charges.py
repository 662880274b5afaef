"""What billing periods cost at their ends: volume tiers and minimums per period, with everything to work them out again by hand."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from buffmoney.base import cursors, money, queries
from buffmoney.base.clock import format_time, to_datetime, to_us
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.ids import public
from buffmoney.base.periods import Periods
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Currency, CustomerId, MetricCode, Number, Time, TimeZone
from buffmoney.metering.charges import ChargingCard, ChargingLine, charging_line
from buffmoney.metering.voids import CustomerAccount
from buffmoney.pricing.cards import stored_tiers
from buffmoney.pricing.explain import ChargeStep, Line, PricedTier, explain_period

if TYPE_CHECKING:
    import asyncpg

_SQL = queries.load("buffmoney.metering", "usage.sql")


class PeriodChargeQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which period charges. customerExternalId: of one customer. periodStart: RFC 3339, the moment at which the period begins."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None
    customer_external_id: CustomerId | None = None
    period_start: Time | None = None


class PeriodPosting(msgspec.Struct, rename="camel"):
    """A posting of a period charge: to revenue (`period_charge`), or back (`period_charge_reversal`). account: what paid it or got it back,
    the wallet or what the customer owes unbilled. grantId null: no grant."""

    sequence: int
    kind: Literal["period_charge", "period_charge_reversal"]
    amount: Number
    account: CustomerAccount
    grant_id: str | None
    balance_after: Number
    unbilled_after: Number
    posted_at: Time


class PeriodCharge(msgspec.Struct, rename="camel"):
    """What a customer's billing period costs on one line beyond what its events were charged.

    The newest revision of a period counts. line, rateCard: in force for the customer at the period's last moment. quantity: units used in
    the period; eventCharges: what its events were charged; total: what the period is charged; amount: total less that of the revision
    before, and what the postings moved (below zero: given back). Revisions after the first are made when late events or voids have moved
    the period. revision: from 1. billable: of a volume line, units beyond the allowance. tier: of a volume line, the one in which the total
    lies. steps: the calculation. exact: before rounding, `a/b` where a decimal takes more than 18 places. rounded: to nine decimals, once.
    rounding: the rule. minimumApplied: the minimum per period is more than that. postings: those that carry the amount. settledAt: when it
    was charged.
    """

    customer_external_id: CustomerId
    metric: MetricCode
    currency: Currency
    period_start: Time
    period_end: Time
    time_zone: TimeZone
    revision: int
    rate_card: ChargingCard
    line: ChargingLine
    quantity: Number
    event_charges: Number
    billable: Number | None
    tier: PricedTier | None
    steps: list[ChargeStep]
    exact: str
    rounded: Number
    rounding: str
    minimum_applied: bool
    total: Number
    amount: Number
    postings: list[PeriodPosting]
    balance_after: Number
    commit_id: str
    settled_at: Time


class PeriodChargePage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[PeriodCharge]
    next_cursor: str | None


async def list_period_charges(call: Call) -> Answer:
    """A page of period charges, each with its calculation and postings."""
    query: PeriodChargeQuery = call.query
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    start_us = None if query.period_start is None else parse_time(query.period_start, "periodStart")
    scope = f"period-charges\0{query.customer_external_id}\0{start_us}"
    after: tuple[int | None, int | None, datetime | None, int | None] = (None, None, None, None)
    if query.cursor is not None:
        commit_id, account, begun_us, counter_id = cursors.unseal(secret, tenant_id, scope, query.cursor)
        after = (commit_id, account, to_datetime(begun_us), counter_id)
    async with call.transaction() as connection:
        account_id = None
        if query.customer_external_id is not None:
            customer = await connection.fetchrow(_SQL["customer"], tenant_id, query.customer_external_id)
            if customer is None:
                # As for usage: who was never charged has no charges.
                return Answer(PeriodChargePage([], None))
            account_id = customer["account_id"]
        start = None if start_us is None else to_datetime(start_us)
        rows = await connection.fetch(_SQL["period_charges"], tenant_id, account_id, start, *after, query.limit + 1)
        page, more = rows[: query.limit], len(rows) > query.limit
        periods = Periods.stored(await connection.fetchval(_SQL["period_settings"], tenant_id))
        posted = [row for row in page if row["posting_seq"]]
        found: defaultdict[tuple[int, int], list[asyncpg.Record]] = defaultdict(list)
        if posted:
            accounts, firsts = [row["account_id"] for row in posted], [row["posting_seq"] for row in posted]
            for posting in await connection.fetch(_SQL["period_postings"], tenant_id, accounts, firsts):
                found[posting["account_id"], posting["first"]].append(posting)
    cursor = None
    if more:
        last = page[-1]
        position = [last["commit_id"], last["account_id"], to_us(last["period_start"]), last["counter_id"]]
        cursor = cursors.seal(secret, tenant_id, scope, position)
    return Answer(PeriodChargePage([_charge(row, periods, found[row["account_id"], row["posting_seq"]]) for row in page], cursor))


def _charge(row: asyncpg.Record, periods: Periods, postings: list[asyncpg.Record]) -> PeriodCharge:
    terms = (row["model"], row["price"], row["per"], row["percent"], row["minimum"], row["allowance"])
    line = Line(*terms, stored_tiers(row["tiers"]), row["minimum_per_period"], row["blocks"])
    why = explain_period(line, row["quantity"], row["charged"], row["total"])
    start, end = periods.of(to_us(row["period_start"]))
    since = None if row["effective_from"] is None else format_time(row["effective_from"])
    return PeriodCharge(
        row["external_id"],
        row["metric"],
        row["currency"],
        format_time(start),
        format_time(end),
        periods.at(start).zone,
        row["revision"],
        ChargingCard(row["rate_card_id"], row["card_name"], row["version"], since),
        charging_line(row, line),
        money.format_decimal(row["quantity"]),
        money.format_decimal(row["charged"]),
        why.billable,
        why.tier,
        why.steps,
        why.exact,
        why.rounded,
        why.rounding,
        why.minimum_applied,
        why.total,
        money.format_decimal(row["amount"]),
        [_posting(posting) for posting in postings],
        money.format_decimal(row["balance_after"]),
        str(row["commit_id"]),
        format_time(row["settled_at"]),
    )


def _posting(row: asyncpg.Record) -> PeriodPosting:
    return PeriodPosting(
        row["seq"],
        row["kind"],
        money.format_decimal(row["amount"]),
        "customer_unbilled" if row["accrued"] else "customer_wallet",
        None if row["grant_id"] is None else public("gr", row["grant_id"].bytes),
        money.format_decimal(row["balance_after"]),
        money.format_decimal(row["unbilled_after"]),
        format_time(row["posted_at"]),
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/period-charges",
        handler=list_period_charges,
        summary="List what billing periods cost at their ends",
        tag="Usage",
        description="Volume tiers and minimums per period are charged an hour after a billing period has ended, and again, as a new "
        "revision with the difference, when late events or voids have moved it. Sums of usage do not have these charges: they are sums of "
        "events.",
        query=PeriodChargeQuery,
        answer=PeriodChargePage,
        errors=("invalid_parameter", "invalid_time", "invalid_cursor"),
    ),
)
