"""Why an event was charged what it was: its line of a rate card, the calculation, and the postings that carry the charge."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import msgspec

from buffmoney.base import money
from buffmoney.base.clock import format_time, to_us
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.ids import public
from buffmoney.base.periods import Periods
from buffmoney.base.wire import DIMENSIONS, Currency, CustomerId, MetricCode, Number, Time, TimeZone
from buffmoney.metering.usage import find_event
from buffmoney.metering.voids import CustomerAccount, EventVoid
from buffmoney.pricing.cards import TIERED, VOLUME, BlocksName, ModelName, stored_tiers
from buffmoney.pricing.explain import ChargeStep, Line, PricedTier, explain_charge, left_of

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.metering.shares import SharedPosting


class ChargingCard(msgspec.Struct, rename="camel"):
    """The rate card that priced an event. version: of its product's cards. effectiveFrom null: since ever."""

    rate_card_id: str
    name: str
    version: int | None
    effective_from: Time | None


class ChargingTier(msgspec.Struct, rename="camel"):
    """A tier of a graduated or volume line. upTo null: all units beyond the tier before."""

    up_to: Number | None
    price: Number
    per: Number


class ChargingLine(msgspec.Struct, rename="camel", omit_defaults=True):
    """The line of the rate card that priced an event, with the fields of its model. index: from 0, within the card."""

    index: int
    metric: MetricCode
    match: dict[str, str]
    model: ModelName
    price: Number | None = None
    cost: Number | None = None
    per: Number | None = None
    percent: Number | None = None
    minimum: Number | None = None
    minimum_per_period: Number | None = None
    allowance: Number | None = None
    blocks: BlocksName | None = None
    tiers: list[ChargingTier] | None = None


class CountedUsage(msgspec.Struct, rename="camel"):
    """How the event was counted: in the billing period in which it occurred, of its customer, on this line and its versions.

    before, after: units that the period had used. allowanceUsed: those of this event that were free; billable: the others.
    """

    period_start: Time
    period_end: Time
    time_zone: TimeZone
    before: Number
    after: Number
    allowance_used: Number
    billable: Number


class BoughtBlocks(msgspec.Struct, rename="camel"):
    """How the event used up blocks: in the billing period in which it occurred, of its customer, on this line and its versions.

    leftBefore: units that the allowance and blocks bought so far still covered. leftAfter: the same after the event. lacking: what of the
    quantity they did not cover. bought: how many blocks the event bought for that.
    """

    period_start: Time
    period_end: Time
    time_zone: TimeZone
    left_before: Number
    lacking: Number
    bought: int
    left_after: Number


class ChargedPeriod(msgspec.Struct, rename="camel"):
    """The billing period in which an event occurred, of a line that asks for more when it is over: all of it of a volume line, else what
    the minimum per period is above the events' charges. GET /v1/period-charges shows it then. pricing: how it is charged, in words.
    """

    period_start: Time
    period_end: Time
    time_zone: TimeZone
    pricing: str


class ChargePosting(msgspec.Struct, rename="camel"):
    """A posting that carries (a part of) the charge.

    Usage of a customer that was committed at once and paid by one grant is one posting. amount: that of all its `events`. shareOfThisEvent:
    the part that is this one's. account: what paid it, the wallet, or for usage that accrued what the customer owes unbilled. grantId null:
    no grant. balanceAfter: what was available after it. unbilledAfter: what was owed.
    """

    sequence: int
    account: CustomerAccount
    grant_id: str | None
    amount: Number
    events: int
    share_of_this_event: Number
    balance_after: Number
    unbilled_after: Number
    posted_at: Time


class ExplainedCharge(msgspec.Struct, rename="camel"):
    """A charge, recomputable by hand.

    rateCard: that priced the event. line: of that card. steps: the calculation. rounded: to nine decimals, once. rounding: the rule.
    minimumApplied: the line's minimum is more than that. postings: those that carry the charge, empty if the event was free of charge; the
    shares of an event add up to its charge, and those of a posting's events to its amount. posting: the first of them. exact: before
    rounding, `a/b` where a decimal takes more than 18 places. counter: null for a line without graduated tiers and allowance. blocks:
    in its place for a package line whose blocks are those of the period. period: null
    for a line that asks for nothing at the end of a period. tiers: what of the event lies in each. void: how the event was taken back, and
    its charge with it. amends: the key of the event that it replaces. amendedBy: the key of the one that replaces it.
    """

    idempotency_key: str
    customer_external_id: CustomerId
    metric: MetricCode
    quantity: Number
    dimensions: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=DIMENSIONS)]
    occurred_at: Time
    accepted_at: Time
    currency: Currency
    rate_card: ChargingCard
    line: ChargingLine
    steps: list[ChargeStep]
    exact: str
    rounded: Number
    rounding: str
    minimum_applied: bool
    charge: Number
    counter: CountedUsage | None
    blocks: BoughtBlocks | None
    period: ChargedPeriod | None
    tiers: list[PricedTier]
    posting: ChargePosting | None
    postings: list[ChargePosting]
    commit_id: str
    void: EventVoid | None
    amends: str | None
    amended_by: str | None


async def get_charge(call: Call) -> Answer:
    """The explanation of one event's charge."""
    key = call.path["idempotencyKey"]
    found = await find_event(call, key)
    event = found.row
    line = Line(
        event["model"],
        event["price"],
        event["per"],
        event["percent"],
        event["minimum"],
        event["allowance"],
        stored_tiers(event["tiers"]),
        event["minimum_per_period"],
        event["blocks"],
    )
    why = explain_charge(line, event["quantity"], event["charge"], event["counter_before"])
    postings = [_posting(row, posting, share) for row, posting, share in found.postings]
    since = None if event["effective_from"] is None else format_time(event["effective_from"])
    return Answer(
        ExplainedCharge(
            idempotency_key=key,
            customer_external_id=event["external_id"],
            metric=event["metric"],
            quantity=money.format_decimal(event["quantity"]),
            dimensions=msgspec.Raw(event["dimensions"].encode()),
            occurred_at=format_time(event["occurred_at"]),
            accepted_at=format_time(event["accepted_at"]),
            currency=event["currency"],
            rate_card=ChargingCard(event["rate_card_id"], event["card_name"], event["version"], since),
            line=charging_line(event, line),
            steps=why.steps,
            exact=why.exact,
            rounded=why.rounded,
            rounding=why.rounding,
            minimum_applied=why.minimum_applied,
            charge=why.charge,
            counter=_counted(event, why.billable) if line.counts and not line.buys_blocks else None,
            blocks=None if why.blocks is None else _bought(event, line, why.billable, why.blocks),
            period=_period(event) if line.settles else None,
            tiers=why.tiers,
            posting=postings[0] if postings else None,
            postings=postings,
            commit_id=str(found.commit_id),
            void=found.void,
            amends=found.amends,
            amended_by=found.amended_by,
        )
    )


def charging_line(event: asyncpg.Record, line: Line) -> ChargingLine:
    """A line as answers show it. event: with line (its number), metric and match."""
    price = money.format_decimal(line.price)
    return ChargingLine(
        event["line"],
        event["metric"],
        msgspec.json.decode(event["match"], type=dict[str, str]),
        line.model,
        price=None if line.model in ("markup", *TIERED) else price,
        cost=price if line.model == "markup" else None,
        per=None if line.model in ("flat", *TIERED) else money.format_decimal(line.per),
        percent=_optional(line.percent),
        minimum=_optional(line.minimum),
        minimum_per_period=_optional(line.minimum_per_period),
        allowance=_optional(line.allowance),
        blocks=line.blocks,
        tiers=[msgspec.convert(tier.wire, ChargingTier) for tier in line.tiers] or None,
    )


def _counted(event: asyncpg.Record, billable: str) -> CountedUsage:
    period = _period_of(event)
    before, quantity = event["counter_before"], event["quantity"]
    return CountedUsage(
        *period,
        money.format_decimal(before),
        money.format_decimal(before + quantity),
        money.format_decimal(quantity - Decimal(billable)),
        billable,
    )


def _bought(event: asyncpg.Record, line: Line, lacking: str, bought: int) -> BoughtBlocks:
    before = left_of(line, event["counter_before"])
    after = before - event["quantity"] + bought * line.per
    left_before, left_after = money.format_decimal(before), money.format_decimal(after)
    return BoughtBlocks(*_period_of(event), left_before, lacking, bought, left_after)


def _period(event: asyncpg.Record) -> ChargedPeriod:
    volume = "all units of the period are priced at its end, by the tier in which their total lies"
    minimum = "at the period's end what the charges of its events did not reach of the minimum per period is charged"
    return ChargedPeriod(*_period_of(event), volume if event["model"] == VOLUME else minimum)


def _period_of(event: asyncpg.Record) -> tuple[str, str, str]:
    """Start, end and time zone of the period in which it occurred."""
    periods = Periods.stored(event["period_settings"])
    start, end = periods.of(to_us(event["occurred_at"]))
    return format_time(start), format_time(end), periods.at(start).zone


def _optional(value: Decimal | None) -> str | None:
    return None if value is None else money.format_decimal(value)


def _posting(row: asyncpg.Record, posting: SharedPosting, share: int) -> ChargePosting:
    return ChargePosting(
        posting.seq,
        row["debit_code"],
        None if row["grant_id"] is None else public("gr", row["grant_id"].bytes),
        money.format_nano(posting.amount),
        posting.events,
        money.format_nano(share),
        money.format_decimal(row["balance_after"]),
        money.format_decimal(row["unbilled_after"]),
        format_time(row["posted_at"]),
    )


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/usage-events/{idempotencyKey}/charge",
        handler=get_charge,
        summary="Explain an event's charge",
        tag="Usage",
        description="The card and the line that priced the event, the calculation step by step before and after rounding, and the postings "
        "that carry the charge with this event's share of each.",
        answer=ExplainedCharge,
        errors=("event_not_found",),
    ),
)
