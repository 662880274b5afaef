"""Routes of prices: rate cards (made once, never changed) and metrics."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from buffmoney.audit import log
from buffmoney.base import cursors, money, queries
from buffmoney.base.clock import format_time, to_datetime, to_us
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.ids import new_short
from buffmoney.base.times import parse_time
from buffmoney.pricing import cards

MAX_METRICS = 1_000
_METRIC_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_CARD_ID = re.compile(r"rc_[0-9a-f]{24}", re.ASCII)
_SQL = queries.load("buffmoney.pricing")

Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]


class ChargeBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A line: `price` for `per` units of `metric`, for events whose dimensions contain `match` (empty: all of them)."""

    metric: str
    price: str
    per: str = "1"
    match: dict[str, str] = {}


class RateCardBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A new rate card. effectiveFrom: RFC 3339, in force at once without it."""

    name: str
    currency: str
    charges: Annotated[list[ChargeBody], msgspec.Meta(max_length=cards.MAX_CHARGES)]
    effective_from: str | None = None


class RateCard(msgspec.Struct, rename="camel"):
    """A rate card. effectiveFrom null: it also prices what happened before it was made."""

    rate_card_id: str
    name: str
    currency: str
    charges: list[ChargeBody]
    effective_from: str | None
    created_at: str


class RateCardSummary(msgspec.Struct, rename="camel"):
    """A rate card in a list: the number of its lines in place of them."""

    rate_card_id: str
    name: str
    currency: str
    charge_count: int
    effective_from: str | None
    created_at: str


class RateCardPage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[RateCardSummary]
    next_cursor: str | None


class PageQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A page of a list."""

    limit: Limit = 50
    cursor: str | None = None


class MetricBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A merchant's own metric. code: a-z, 0-9 and _, at most 64 characters. unit: for people."""

    code: str
    unit: str = ""


class Metric(msgspec.Struct, rename="camel"):
    """Something that is counted. The built-in ones have ids below 100."""

    metric_id: int
    code: str
    unit: str
    built_in: bool
    created_at: str


class MetricList(msgspec.Struct, rename="camel"):
    """All metrics of the tenant."""

    data: list[Metric]


async def _tell_core(call: Call, version: int) -> None:
    # Only to be quick: without it the core finds the new version at its next look, so a core that is away is no failure.
    try:
        await call.services.commands.command(call.tenant, {"type": "catalog", "version": version})
    except Problem:
        return


async def create_rate_card(call: Call) -> Answer:
    """Checks and stores a card; the answer comes once the next event will be rated by it."""
    body: RateCardBody = call.body
    cards.check_text(body.name, "name", longest_bytes=255, what="A rate card's name")
    if not body.charges:
        raise Problem("invalid_rate_card", "A rate card has at least one charge.", param="charges")
    charges = [cards.check_charge(line, one.metric, one.price, one.per, one.match) for line, one in enumerate(body.charges)]
    cards.refuse_ambiguous(charges)
    requested_us = None if body.effective_from is None else parse_time(body.effective_from, "effectiveFrom")
    clock = call.services.clock
    tenant_id = call.tenant.tenant_id
    async with call.transaction() as connection:
        tenant = await connection.fetchrow(_SQL["next_version"], tenant_id)
        if tenant is None:
            raise Problem("not_found", "The tenant does not exist.")
        if body.currency != tenant["currency"]:
            raise Problem("currency_mismatch", f"This merchant's wallets are in {tenant['currency']}: so are its rate cards.", "currency")
        known = {row["code"]: row["metric_id"] for row in await connection.fetch(_SQL["metric_ids"], tenant_id)}
        for line, charge in enumerate(charges):
            if charge.metric not in known:
                raise Problem("unknown_metric", "There is no such metric. POST /v1/metrics makes one.", f"charges[{line}].metric")
        now_us = clock.now_us()
        now = to_datetime(now_us)
        effect = None if requested_us is None else to_datetime(requested_us)
        existing = await connection.fetchrow(_SQL["latest_effect"], tenant_id, effect or now)
        assert existing is not None
        if existing["cards"]:
            if requested_us is not None and requested_us < now_us:
                raise Problem("invalid_rate_card", "effectiveFrom lies in the past, where another card is in force.", "effectiveFrom")
            if existing["taken"]:
                raise Problem("invalid_rate_card", "Another rate card takes effect at this very moment.", "effectiveFrom")
            effect = effect or now
        card_id = new_short("rc", clock)
        await connection.execute(_SQL["insert_card"], tenant_id, card_id, body.name, body.currency, effect, now)
        await connection.execute(
            _SQL["insert_charges"],
            tenant_id,
            card_id,
            [known[charge.metric] for charge in charges],
            [msgspec.json.encode(charge.match).decode() for charge in charges],
            [charge.price for charge in charges],
            [charge.per for charge in charges],
        )
        lines = [_line(charge.metric, charge.price, charge.per, charge.match) for charge in charges]
        card = RateCard(card_id, body.name, body.currency, lines, _time(effect), format_time(now))
        await log.record(connection, log.Author.of(call), tenant_id, "rate_card.create", card_id, None, msgspec.to_builtins(card))
    version = tenant["catalog_version"]
    call.after_commit.append(lambda: _tell_core(call, version))
    return Answer(card)


async def list_rate_cards(call: Call) -> Answer:
    """A page of cards, newest first."""
    query: PageQuery = call.query
    secret = call.services.settings.secret
    tenant_id = call.tenant.tenant_id
    after: tuple[datetime | None, str | None] = (None, None)
    if query.cursor is not None:
        created_us, card_id = cursors.unseal(secret, tenant_id, "rate-cards", query.cursor)
        after = (to_datetime(created_us), card_id)
    async with call.transaction() as connection:
        rows = await connection.fetch(_SQL["list_cards"], tenant_id, *after, query.limit + 1)
    page, more = rows[: query.limit], len(rows) > query.limit
    cursor = None
    if more:
        cursor = cursors.seal(secret, tenant_id, "rate-cards", [to_us(page[-1]["created_at"]), page[-1]["rate_card_id"]])
    data = [
        RateCardSummary(
            row["rate_card_id"], row["name"], row["currency"], row["charges"], _time(row["effective_from"]), format_time(row["created_at"])
        )
        for row in page
    ]
    return Answer(RateCardPage(data, cursor))


async def get_rate_card(call: Call) -> Answer:
    """One card with its lines."""
    card_id = call.path["rateCardId"]
    row, charges = None, []
    if _CARD_ID.fullmatch(card_id):
        async with call.transaction() as connection:
            row = await connection.fetchrow(_SQL["get_card"], call.tenant.tenant_id, card_id)
            charges = await connection.fetch(_SQL["get_charges"], call.tenant.tenant_id, card_id)
    if row is None:
        raise Problem("rate_card_not_found", "There is no rate card with this id.", "rateCardId")
    lines = [_line(one["metric"], one["price"], one["per"], msgspec.json.decode(one["match"], type=dict[str, str])) for one in charges]
    return Answer(RateCard(card_id, row["name"], row["currency"], lines, _time(row["effective_from"]), format_time(row["created_at"])))


async def list_metrics(call: Call) -> Answer:
    """All metrics, built-in ones first."""
    async with call.transaction() as connection:
        rows = await connection.fetch(_SQL["list_metrics"], call.tenant.tenant_id)
    return Answer(MetricList([_metric(row["metric_id"], row["code"], row["unit"], row["created_at"]) for row in rows]))


async def create_metric(call: Call) -> Answer:
    """Makes a metric of the merchant's own; usage of it can be sent at once, and is charged once a rate card prices it."""
    body: MetricBody = call.body
    if _METRIC_CODE.fullmatch(body.code) is None:
        raise Problem("invalid_metric", "A metric's code starts with a-z and has at most 64 characters of a-z, 0-9 and _.", "code")
    if len(body.unit) > 32 or any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in body.unit):
        raise Problem("invalid_metric", "A unit has at most 32 characters and no control characters.", "unit")
    now = to_datetime(call.services.clock.now_us())
    tenant_id = call.tenant.tenant_id
    async with call.transaction() as connection:
        tenant = await connection.fetchrow(_SQL["next_version"], tenant_id)
        if tenant is None:
            raise Problem("not_found", "The tenant does not exist.")
        if await connection.fetchval(_SQL["count_metrics"], tenant_id) >= MAX_METRICS:
            raise Problem("too_many_metrics", f"A merchant has at most {MAX_METRICS} metrics.")
        metric_id = await connection.fetchval(_SQL["insert_metric"], tenant_id, body.code, body.unit, now)
        if metric_id is None:
            raise Problem("metric_exists", f"There is a metric {body.code} already.", "code")
        metric = _metric(metric_id, body.code, body.unit, now)
        await log.record(connection, log.Author.of(call), tenant_id, "metric.create", body.code, None, msgspec.to_builtins(metric))
    version = tenant["catalog_version"]
    call.after_commit.append(lambda: _tell_core(call, version))
    return Answer(metric)


def _metric(metric_id: int, code: str, unit: str, created_at: datetime) -> Metric:
    return Metric(metric_id, code, unit, metric_id < 100, format_time(created_at))


def _line(metric: str, price: Decimal, per: Decimal, match: dict[str, str]) -> ChargeBody:
    return ChargeBody(metric, money.format_decimal(price), money.format_decimal(per), match)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


_CARD_EXAMPLE = {
    "name": "standard",
    "currency": "CNY",
    "charges": [
        {"metric": "tokens_input", "per": "1000000", "price": "4", "match": {"model": "gpt-4o"}},
        {"metric": "tokens_output", "per": "1000000", "price": "16", "match": {"model": "gpt-4o"}},
    ],
}

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/rate-cards",
        handler=create_rate_card,
        summary="Create a rate card",
        tag="Pricing",
        description="A card is never changed: a new one takes its place, at once or from `effectiveFrom`. The first card "
        "also prices what happened before it was made.",
        body=RateCardBody,
        answer=RateCard,
        status=201,
        errors=("invalid_rate_card", "invalid_price", "unknown_metric", "currency_mismatch", "invalid_time", "not_found"),
        idempotency="stored",
        body_example=_CARD_EXAMPLE,
    ),
    Route(
        method="GET",
        path="/v1/rate-cards",
        handler=list_rate_cards,
        summary="List rate cards",
        tag="Pricing",
        query=PageQuery,
        answer=RateCardPage,
        errors=("invalid_cursor",),
    ),
    Route(
        method="GET",
        path="/v1/rate-cards/{rateCardId}",
        handler=get_rate_card,
        summary="Get a rate card",
        tag="Pricing",
        answer=RateCard,
        errors=("rate_card_not_found",),
    ),
    Route(method="GET", path="/v1/metrics", handler=list_metrics, summary="List metrics", tag="Pricing", answer=MetricList),
    Route(
        method="POST",
        path="/v1/metrics",
        handler=create_metric,
        summary="Create a metric",
        tag="Pricing",
        body=MetricBody,
        answer=Metric,
        status=201,
        errors=("invalid_metric", "metric_exists", "too_many_metrics", "not_found"),
        idempotency="stored",
        body_example={"code": "video_seconds", "unit": "second"},
    ),
)
