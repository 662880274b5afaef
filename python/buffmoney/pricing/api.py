"""Routes of prices: products, rate cards (drafts until they are published, never changed after it) and metrics."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from buffmoney.audit import log
from buffmoney.base import cursors, queries
from buffmoney.base.clock import format_time, to_datetime, to_us
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Route, tell_core
from buffmoney.base.times import parse_time
from buffmoney.base.wire import Currency, MetricCode, Number, NumberInput, Time
from buffmoney.pricing import cards, diff, products, versions

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

MAX_METRICS = 1_000
_METRIC_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_SQL = queries.load("buffmoney.pricing")

Limit = Annotated[int, msgspec.Meta(ge=1, le=200)]
Status = Literal["draft", "published"]
State = Literal["draft", "scheduled", "in_force", "past", "replaced", "by_assignment"]


class TierBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A tier of a graduated or volume line: units of a billing period, beyond the allowance, after the tier before and up to the `upTo`th.

    upTo: null for the last tier, and only for it. price: for `per` units.
    """

    up_to: NumberInput | None
    price: NumberInput
    per: NumberInput = "1"


class ChargeBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A line, for events of `metric` whose dimensions contain `match` (empty: all of them).

    What an event of quantity q costs: `per_unit` q × price ÷ per; `package` price for each block of `per` units that it begins; `flat`
    price; `markup` q × cost ÷ per and percent on top; `graduated` of each part of q, by the tier it lies in, part × price ÷ per; `volume`
    nothing: when the billing period is over, all its units cost the price of the tier in which their total lies. In the card's currency
    unless it names its own; `prices`, `costs`, `minimums` and `minimumsPerPeriod` say it in several side by side, and the currency of the
    customer's wallet decides. minimum: what an event costs at least, with any model but `volume`. minimumPerPeriod: what a billing period
    costs at least in which the line was used, with any model; what the events did not pay of it is charged when the period is over; like
    `volume` for pay-as-you-go only. allowance: units of the metric that are free for a customer in each billing period, with any model
    but `flat`; q is what lies beyond them, and an event within them is free. blocks: whose blocks a package counts. `period`, which they
    are without it: those that a billing period begins, so that what an event leaves of a block the customer's next ones use up; there is
    no `minimum` then. `event`: those of each event by itself. currency: the card's without it. prices: `price` by currency. costs: `cost`
    by currency. minimums: `minimum` by currency. minimumsPerPeriod: `minimumPerPeriod` by currency.
    """

    metric: MetricCode
    model: cards.ModelName = cards.PER_UNIT
    price: NumberInput | UnsetType = UNSET
    cost: NumberInput | UnsetType = UNSET
    per: NumberInput | UnsetType = UNSET
    percent: NumberInput | UnsetType = UNSET
    minimum: NumberInput | UnsetType = UNSET
    minimum_per_period: NumberInput | UnsetType = UNSET
    allowance: NumberInput | UnsetType = UNSET
    blocks: cards.BlocksName | UnsetType = UNSET
    tiers: Annotated[list[TierBody], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": cards.MAX_TIERS})] | UnsetType = UNSET
    match: dict[str, str] = {}
    currency: Currency | UnsetType = UNSET
    prices: dict[str, NumberInput] | UnsetType = UNSET
    costs: dict[str, NumberInput] | UnsetType = UNSET
    minimums: dict[str, NumberInput] | UnsetType = UNSET
    minimums_per_period: dict[str, NumberInput] | UnsetType = UNSET


ChargeBodies = Annotated[list[ChargeBody], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": cards.MAX_CHARGES})]


class RateCardBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A new rate card, published at once unless it is a draft.

    productId: the product with the code `default` without it. effectiveFrom: RFC 3339, in force at once without it. audience: `assigned`
    for a card that only customers meet to whom it is assigned. draft: it stays a draft until it is published. charges: its lines; the most
    specific one that matches an event prices it.
    """

    name: str
    currency: Currency
    charges: ChargeBodies
    effective_from: Time | None = None
    product_id: str | None = None
    draft: bool = False
    audience: versions.Audience = "everyone"


class DraftBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """All of a draft.

    productId: the draft stays with its product without it. charges: its lines. audience: `assigned` for a card that only customers meet to
    whom it is assigned. effectiveFrom: RFC 3339, in force at once without it.
    """

    name: str
    currency: Currency
    charges: ChargeBodies
    effective_from: Time | None = None
    product_id: str | None = None
    audience: versions.Audience = "everyone"


class PublishBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """How a draft is published.

    effectiveFrom: RFC 3339; without it what the draft says, else at once. audience: without it what the draft says.
    """

    effective_from: Time | None = None
    audience: versions.Audience | None = None


class ChargeLine(msgspec.Struct, rename="camel"):
    """A line of a rate card, with the fields of its model.

    currency: where it is not the card's. prices: by currency. costs: by currency. minimums: by currency. minimumsPerPeriod: by currency.
    """

    metric: MetricCode
    model: cards.ModelName
    match: dict[str, str]
    price: Number | UnsetType = UNSET
    cost: Number | UnsetType = UNSET
    per: Number | UnsetType = UNSET
    percent: Number | UnsetType = UNSET
    minimum: Number | UnsetType = UNSET
    minimum_per_period: Number | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    prices: dict[str, Number] | UnsetType = UNSET
    costs: dict[str, Number] | UnsetType = UNSET
    minimums: dict[str, Number] | UnsetType = UNSET
    minimums_per_period: dict[str, Number] | UnsetType = UNSET
    allowance: Number | UnsetType = UNSET
    blocks: cards.BlocksName | UnsetType = UNSET
    tiers: list[TierBody] | UnsetType = UNSET


class RateCard(msgspec.Struct, rename="camel"):
    """A rate card.

    version: null for a draft. effectiveFrom null: a version also prices what happened before it was made. audience: `assigned`: only
    customers meet it to whom it is assigned. charges: its lines.
    """

    rate_card_id: str
    product_id: str
    name: str
    currency: Currency
    audience: versions.Audience
    status: Status
    version: int | None
    charges: list[ChargeLine]
    effective_from: Time | None
    created_at: Time
    published_at: Time | None


class RateCardSummary(msgspec.Struct, rename="camel"):
    """A rate card in a list.

    version: null for a draft. chargeCount: how many lines it has. audience: `assigned`: only customers meet it to whom it is assigned.
    effectiveFrom null: a version also prices what happened before it was made. state: whether customers without a card of their own meet
    it now; `replaced`: never, since a higher version has the same start; `by_assignment`: only those customers to whom it is assigned.
    """

    rate_card_id: str
    product_id: str
    name: str
    currency: Currency
    audience: versions.Audience
    status: Status
    state: State
    version: int | None
    charge_count: int
    effective_from: Time | None
    created_at: Time
    published_at: Time | None


class RateCardPage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[RateCardSummary]
    next_cursor: str | None


class RateCardQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A page of rate cards. productId: those of one product. status: those of one status."""

    limit: Limit = 50
    cursor: str | None = None
    product_id: str | None = None
    status: Status | None = None


class DeletedRateCard(msgspec.Struct, rename="camel"):
    """A draft that is no more. deleted: true."""

    rate_card_id: str
    deleted: bool


class DiffQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a card is compared with. against: the card before; without it the version for everyone that is in force until this card takes
    effect."""

    against: str | None = None


class ChangedLine(msgspec.Struct, rename="camel"):
    """A line that both cards have, with different prices in one currency. before: of `against`. after: of `rateCardId`."""

    metric: MetricCode
    match: dict[str, str]
    before: ChargeLine
    after: ChargeLine


class ChangedField(msgspec.Struct, rename="camel"):
    """What is said of both cards as a whole, and differs. field: its name. before: what `against` says, null: since ever. after: what
    `rateCardId` says, likewise."""

    field: Literal["name", "productId", "currency", "audience", "effectiveFrom"]
    before: str | None
    after: str | None


class NewCounter(msgspec.Struct, rename="camel"):
    """A line that begins to count at zero, whatever the running billing period has used: no version before counts this metric and match."""

    metric: MetricCode
    match: dict[str, str]


class RateCardDiff(msgspec.Struct, rename="camel"):
    """What changes when a card takes the place of another.

    against null: there is no version before. fields: what is said of the cards as a whole; not what a draft leaves open. added: lines that
    only `rateCardId` has. removed: lines that only `against` has. changed: lines that both have, with other prices. newCounters: lines that
    begin to count at zero. text: the same for people.
    """

    rate_card_id: str
    against: str | None
    fields: list[ChangedField]
    added: list[ChargeLine]
    removed: list[ChargeLine]
    changed: list[ChangedLine]
    new_counters: list[NewCounter]
    text: str


class ProductBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A new product. code: a-z, 0-9 and _, at most 64 characters. name: for people, the code without it."""

    code: str
    name: str = ""


class Product(msgspec.Struct, rename="camel"):
    """What a merchant sells, with rate cards of its own. code: unique among the products."""

    product_id: str
    code: str
    name: str
    created_at: Time


class ProductList(msgspec.Struct, rename="camel"):
    """All products of the tenant, oldest first."""

    data: list[Product]


class MetricBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A merchant's own metric. code: a-z, 0-9 and _, at most 64 characters. unit: for people."""

    code: str
    unit: str = ""


class Metric(msgspec.Struct, rename="camel"):
    """Something that is counted. metricId: below 100 for the built-in ones. unit: for people. builtIn: every merchant has it."""

    metric_id: int
    code: str
    unit: str
    built_in: bool
    created_at: Time


class MetricList(msgspec.Struct, rename="camel"):
    """All metrics of the tenant."""

    data: list[Metric]


async def create_rate_card(call: Call) -> Answer:
    """Checks and stores a card; the answer comes once the next event will be rated by it, unless it is a draft."""
    body: RateCardBody = call.body
    draft = draft_of(body)
    clock, tenant_id = call.services.clock, call.tenant.tenant_id
    async with call.transaction() as connection:
        card_id = await versions.create(connection, clock, tenant_id, draft)
        if body.draft:
            card = _card(await versions.read(connection, tenant_id, card_id))
        else:
            published = await versions.publish(connection, clock, tenant_id, card_id)
            card = _card(published.card)
            call.after_commit.append(lambda: tell_core(call, published.catalog_version))
        await _tell_audit(call, connection, "rate_card.create", None, card)
    return Answer(card)


async def replace_rate_card(call: Call) -> Answer:
    """Puts another content into a draft."""
    draft = draft_of(call.body)
    tenant_id, card_id = call.tenant.tenant_id, call.path["rateCardId"]
    async with call.transaction() as connection:
        before = _card(await versions.replace(connection, tenant_id, card_id, draft))
        after = _card(await versions.read(connection, tenant_id, card_id))
        if after != before:
            await _tell_audit(call, connection, "rate_card.update", before, after)
    return Answer(after)


async def delete_rate_card(call: Call) -> Answer:
    """Deletes a draft."""
    card_id = call.path["rateCardId"]
    async with call.transaction() as connection:
        before = _card(await versions.delete(connection, call.tenant.tenant_id, card_id))
        await _tell_audit(call, connection, "rate_card.delete", before, None)
    return Answer(DeletedRateCard(card_id, True))


async def publish_rate_card(call: Call) -> Answer:
    """Publishes a draft; the answer comes once the next event will be rated by it."""
    body: PublishBody = call.body
    effective_us = None if body.effective_from is None else parse_time(body.effective_from, "effectiveFrom")
    clock, tenant_id = call.services.clock, call.tenant.tenant_id
    async with call.transaction() as connection:
        published = await versions.publish(connection, clock, tenant_id, call.path["rateCardId"], effective_us, body.audience)
        card = _card(published.card)
        await _tell_audit(call, connection, "rate_card.publish", _card(published.draft), card)
    call.after_commit.append(lambda: tell_core(call, published.catalog_version))
    return Answer(card)


async def _tell_audit(call: Call, connection: Connection, action: log.Action, before: RateCard | None, after: RateCard | None) -> None:
    card = after or before
    assert card is not None
    told = [None if one is None else msgspec.to_builtins(one) for one in (before, after)]
    await log.record(connection, log.Author.of(call), call.tenant.tenant_id, action, card.rate_card_id, *told)


async def list_rate_cards(call: Call) -> Answer:
    """A page of cards, newest first."""
    query: RateCardQuery = call.query
    secret = call.services.settings.secret
    tenant_id = call.tenant.tenant_id
    scope = f"rate-cards:{query.product_id or ''}:{query.status or ''}"
    after: tuple[datetime | None, str | None] = (None, None)
    if query.cursor is not None:
        created_us, card_id = cursors.unseal(secret, tenant_id, scope, query.cursor)
        after = (to_datetime(created_us), card_id)
    async with call.transaction() as connection:
        now = to_datetime(call.services.clock.now_us())
        rows = await connection.fetch(_SQL["list_cards"], tenant_id, *after, query.limit + 1, query.product_id, query.status, now)
    page, more = rows[: query.limit], len(rows) > query.limit
    cursor = None
    if more:
        cursor = cursors.seal(secret, tenant_id, scope, [to_us(page[-1]["created_at"]), page[-1]["rate_card_id"]])
    data = [
        RateCardSummary(
            row["rate_card_id"],
            row["product_id"],
            row["name"],
            row["currency"],
            row["audience"],
            row["status"],
            row["state"],
            row["version"],
            row["charges"],
            _time(row["effective_from"]),
            format_time(row["created_at"]),
            _time(row["published_at"]),
        )
        for row in page
    ]
    return Answer(RateCardPage(data, cursor))


async def get_rate_card(call: Call) -> Answer:
    """One card with its lines."""
    async with call.transaction() as connection:
        return Answer(_card(await versions.read(connection, call.tenant.tenant_id, call.path["rateCardId"])))


async def diff_rate_cards(call: Call) -> Answer:
    """What changed between two cards."""
    query: DiffQuery = call.query
    tenant_id = call.tenant.tenant_id
    async with call.transaction() as connection:
        card = await versions.read(connection, tenant_id, call.path["rateCardId"])
        if query.against is None:
            against = await versions.version_before(connection, call.services.clock, tenant_id, card)
        else:
            against = await versions.read(connection, tenant_id, query.against, "against")
        known = await versions.counters_before(connection, tenant_id, card)
        codes = {one.product_id: one.code for one in await products.list_products(connection, tenant_id)}
    before = [] if against is None else against.charges
    found = diff.compare(before, card.charges)
    fields = [] if against is None else _changed_fields(against, card)
    # Another product has counters of its own.
    counted = before if against is None or against.product_id == card.product_id else []
    anew = [] if against is None else diff.from_zero(counted, card.charges, known)
    words = [(_WORDS[one.field], _said(one, one.before, codes), _said(one, one.after, codes)) for one in fields]
    return Answer(
        RateCardDiff(
            card.rate_card_id,
            None if against is None else against.rate_card_id,
            fields,
            [_line([charge], card.currency) for charge in found.added],
            [_line([charge], card.currency) for charge in found.removed],
            [ChangedLine(new.metric, new.match, _line([old], card.currency), _line([new], card.currency)) for old, new in found.changed],
            [NewCounter(charge.metric, charge.match) for charge in anew],
            diff.render(found, words, anew),
        )
    )


_WORDS = {"name": "name", "productId": "product", "currency": "currency", "audience": "audience", "effectiveFrom": "in force from"}


def _changed_fields(before: versions.Card, after: versions.Card) -> list[ChangedField]:
    pairs = [
        ChangedField("name", before.name, after.name),
        ChangedField("productId", before.product_id, after.product_id),
        ChangedField("currency", before.currency, after.currency),
        ChangedField("audience", before.audience, after.audience),
    ]
    # A draft without a moment has not decided on one, and a card for assigned customers takes effect by its assignments.
    if all((card.status == "published" or card.effective_from is not None) and card.audience == "everyone" for card in (before, after)):
        pairs.append(ChangedField("effectiveFrom", _time(before.effective_from), _time(after.effective_from)))
    return [one for one in pairs if one.before != one.after]


def _said(changed: ChangedField, value: str | None, codes: Mapping[str, str]) -> str:
    if value is None:
        return "ever"
    return codes.get(value, value) if changed.field == "productId" else value


async def list_products(call: Call) -> Answer:
    """All products."""
    async with call.transaction() as connection:
        rows = await products.list_products(connection, call.tenant.tenant_id)
    return Answer(ProductList([_product(row) for row in rows]))


async def get_product(call: Call) -> Answer:
    """One product."""
    async with call.transaction() as connection:
        return Answer(_product(await products.get(connection, call.tenant.tenant_id, call.path["productId"])))


async def create_product(call: Call) -> Answer:
    """Makes a product."""
    body: ProductBody = call.body
    async with call.transaction() as connection:
        made = _product(await products.create(connection, call.services.clock, call.tenant.tenant_id, body.code, body.name))
        author, tenant_id = log.Author.of(call), call.tenant.tenant_id
        await log.record(connection, author, tenant_id, "product.create", made.product_id, None, msgspec.to_builtins(made))
    return Answer(made)


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
    call.after_commit.append(lambda: tell_core(call, version))
    return Answer(metric)


def _metric(metric_id: int, code: str, unit: str, created_at: datetime) -> Metric:
    return Metric(metric_id, code, unit, metric_id < 100, format_time(created_at))


_SAID = {
    field.encode_name: field.name
    for field in msgspec.structs.fields(ChargeBody)
    if field.encode_name in ("currency", *cards.AMOUNTS, *cards.SIDE_BY_SIDE)
}
"""the fields of a line with amounts, as clients write them and as ChargeBody does"""


def draft_of(body: RateCardBody | DraftBody) -> versions.Draft:
    """Everything about a card that can be checked without the database. Raises Problem."""
    cards.check_text(body.name, "name", longest_bytes=255, what="A rate card's name")
    if not body.charges:
        raise Problem("invalid_rate_card", "A rate card has at least one charge.", param="charges")
    if len(body.charges) > cards.MAX_CHARGES:
        detail = f"A rate card has at most {cards.MAX_CHARGES:,} lines; this one has {len(body.charges):,}."
        raise Problem("invalid_rate_card", detail, param="charges")
    charges = []
    for line, one in enumerate(body.charges):
        said = {wire: value for wire, name in _SAID.items() if (value := getattr(one, name)) is not UNSET}
        for name in ("tiers", "blocks"):
            if (value := getattr(one, name)) is not UNSET:
                said[name] = value
        charges += cards.check_line(line, body.currency, one.metric, one.match, one.model, **said)
    if len(charges) > cards.MAX_CHARGES:
        raise Problem("invalid_rate_card", f"A rate card has at most {cards.MAX_CHARGES:,} prices, all currencies counted.", "charges")
    effective_us = None if body.effective_from is None else parse_time(body.effective_from, "effectiveFrom")
    return versions.Draft(body.product_id, body.name, body.currency, charges, effective_us, body.audience)


def _card(card: versions.Card) -> RateCard:
    return RateCard(
        card.rate_card_id,
        card.product_id,
        card.name,
        card.currency,
        card.audience,
        "published" if card.status == "published" else "draft",
        card.version,
        [_line(list(same), card.currency) for _, same in itertools.groupby(card.charges, key=lambda charge: charge.line)],
        _time(card.effective_from),
        format_time(card.created_at),
        _time(card.published_at),
    )


def _line(charges: Sequence[cards.Charge], card_currency: str) -> ChargeLine:
    """One line. charges: it in each of its currencies."""
    first = charges[0]
    fields: dict[str, object] = {"metric": first.metric, "model": first.model, "match": first.match}
    if len(charges) == 1:
        fields |= first.amounts
        if first.currency != card_currency:
            fields["currency"] = first.currency
    else:
        fields |= {name: value for name, value in first.amounts.items() if name not in cards.SIDE_BY_SIDE.values()}
        for name, one in cards.SIDE_BY_SIDE.items():
            if table := {charge.currency: charge.amounts[one] for charge in charges if one in charge.amounts}:
                fields[name] = table
    if first.blocks is not None:
        fields["blocks"] = first.blocks
    if first.tiers:
        fields["tiers"] = [tier.wire for tier in first.tiers]
    return msgspec.convert(fields, ChargeLine)


def _product(product: products.Product) -> Product:
    return Product(product.product_id, product.code, product.name, format_time(product.created_at))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


_CARD_ERRORS = (
    "invalid_rate_card",
    "invalid_price",
    "unknown_metric",
    "invalid_currency",
    "currency_mismatch",
    "invalid_time",
    "product_not_found",
    "not_found",
)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/rate-cards",
        handler=create_rate_card,
        large_body=True,
        summary="Create a rate card",
        tag="Pricing",
        description="It is published at once, or stays a draft with `draft`. A published card is never changed: a new version takes its "
        "place, at once or from `effectiveFrom`. Of two with the same `effectiveFrom`, which must be to come, the higher version counts: "
        "so a scheduled one can be replaced. A product's first version also prices what happened before it was made.",
        body=RateCardBody,
        answer=RateCard,
        status=201,
        errors=_CARD_ERRORS,
        idempotency="stored",
    ),
    Route(
        method="GET",
        path="/v1/rate-cards",
        handler=list_rate_cards,
        summary="List rate cards",
        tag="Pricing",
        description="Newest first, drafts among them; each with the number of its lines in place of them.",
        query=RateCardQuery,
        answer=RateCardPage,
        errors=("invalid_cursor",),
    ),
    Route(
        method="GET",
        path="/v1/rate-cards/{rateCardId}",
        handler=get_rate_card,
        summary="Get a rate card",
        tag="Pricing",
        description="One rate card with all its lines.",
        answer=RateCard,
        errors=("rate_card_not_found",),
    ),
    Route(
        method="PUT",
        path="/v1/rate-cards/{rateCardId}",
        handler=replace_rate_card,
        large_body=True,
        summary="Replace a draft",
        tag="Pricing",
        description="Only a draft can be replaced: a published card never changes.",
        body=DraftBody,
        answer=RateCard,
        errors=(*_CARD_ERRORS, "rate_card_not_found", "rate_card_published"),
    ),
    Route(
        method="DELETE",
        path="/v1/rate-cards/{rateCardId}",
        handler=delete_rate_card,
        summary="Delete a draft",
        tag="Pricing",
        description="Only a draft can be deleted: a published card stays for good.",
        answer=DeletedRateCard,
        errors=("rate_card_not_found", "rate_card_published"),
    ),
    Route(
        method="POST",
        path="/v1/rate-cards/{rateCardId}/publish",
        handler=publish_rate_card,
        summary="Publish a draft",
        tag="Pricing",
        description="The draft becomes the next version of its product's rate card and never changes again. Its lines are looked at "
        "together: none may be ambiguous, and none may price a metric that another product prices.",
        body=PublishBody,
        answer=RateCard,
        errors=("rate_card_not_found", "rate_card_published", "invalid_rate_card", "currency_mismatch", "invalid_time"),
        idempotency="stored",
    ),
    Route(
        method="GET",
        path="/v1/rate-cards/{rateCardId}/diff",
        handler=diff_rate_cards,
        summary="Compare two rate cards",
        tag="Pricing",
        description="What changes when this card takes the place of `against`, by default of the version for everyone that is in force "
        "until then. A line is known by its metric, its match and its currency.",
        query=DiffQuery,
        answer=RateCardDiff,
        errors=("rate_card_not_found",),
    ),
    Route(
        method="GET",
        path="/v1/products",
        handler=list_products,
        summary="List products",
        tag="Pricing",
        description="All products, the oldest first.",
        answer=ProductList,
    ),
    Route(
        method="POST",
        path="/v1/products",
        handler=create_product,
        summary="Create a product",
        tag="Pricing",
        description="Every merchant has a product with the code `default`. A metric is priced by the cards of one product only.",
        body=ProductBody,
        answer=Product,
        status=201,
        errors=("invalid_product", "product_exists", "too_many_products", "not_found"),
        idempotency="stored",
    ),
    Route(
        method="GET",
        path="/v1/products/{productId}",
        handler=get_product,
        summary="Get a product",
        tag="Pricing",
        description="One product.",
        answer=Product,
        errors=("product_not_found",),
    ),
    Route(
        method="GET",
        path="/v1/metrics",
        handler=list_metrics,
        summary="List metrics",
        tag="Pricing",
        description="The built-in metrics and the merchant's own.",
        answer=MetricList,
    ),
    Route(
        method="POST",
        path="/v1/metrics",
        handler=create_metric,
        summary="Create a metric",
        tag="Pricing",
        description="Something of your own to count, beside the built-in metrics.",
        body=MetricBody,
        answer=Metric,
        status=201,
        errors=("invalid_metric", "metric_exists", "too_many_metrics", "not_found"),
        idempotency="stored",
    ),
)
