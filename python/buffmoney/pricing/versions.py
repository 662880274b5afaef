"""A rate card from draft to version: kept while it is edited, checked as a whole when it is published, and left alone for good after that.

Every change happens under the lock on the tenant's row, so of two publishings one sees the other.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from buffmoney.base import money, queries
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.ids import new_short
from buffmoney.pricing import products
from buffmoney.pricing.cards import PERIOD, VOLUME, Charge, refuse_ambiguous, stored_tiers
from buffmoney.pricing.diff import CounterName, canonical

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

_CARD_ID = re.compile(r"rc_[0-9a-f]{24}", re.ASCII)
_SQL = queries.load("buffmoney.pricing")

Audience = Literal["everyone", "assigned"]
"""who meets a version: everyone without a card of their own, or only customers to whom it is assigned"""


class Draft(msgspec.Struct, frozen=True):
    """What a client says about a card; its lines are checked. product_id None: the default product, or the one it belongs to already."""

    product_id: str | None
    name: str
    currency: str
    charges: list[Charge]
    effective_us: int | None
    audience: Audience = "everyone"


class Card(msgspec.Struct, frozen=True):
    """A card as it is stored. effective_from None: of a version, since ever; of a draft, not decided."""

    rate_card_id: str
    product_id: str
    name: str
    currency: str
    audience: Audience
    status: str
    version: int | None
    effective_from: datetime | None
    created_at: datetime
    published_at: datetime | None
    charges: list[Charge]


class Published(msgspec.Struct, frozen=True):
    """A card as it was and as it is, and the version of the catalogue that has it."""

    draft: Card
    card: Card
    catalog_version: int


async def read(connection: Connection, tenant_id: int, card_id: str, param: str = "rateCardId") -> Card:
    """A card with its lines. param: how the client names it. Raises Problem rate_card_not_found."""
    row = await connection.fetchrow(_SQL["get_card"], tenant_id, card_id) if _CARD_ID.fullmatch(card_id) else None
    if row is None:
        raise Problem("rate_card_not_found", "There is no rate card with this id.", param)
    lines = await connection.fetch(_SQL["get_charges"], tenant_id, card_id)
    charges = [
        Charge(
            line["metric"],
            line["price"],
            line["per"],
            dict(sorted(msgspec.json.decode(line["match"], type=dict[str, str]).items())),
            line["model"],
            line["percent"],
            line["minimum"],
            line["allowance"],
            stored_tiers(line["tiers"]),
            line["currency"],
            line["line"],
            line["minimum_per_period"],
            line["blocks"],
        )
        for line in lines
    ]
    return Card(**dict(row), charges=charges)


async def version_before(connection: Connection, clock: Clock, tenant_id: int, card: Card) -> Card | None:
    """The version for everyone that is in force until a card of the same product takes effect, or for as long as it is not assigned: at
    its moment, and now for a draft that names none. None: there is none then."""
    moment = card.effective_from or (to_datetime(clock.now_us()) if card.status == "draft" else None)
    if moment is None:
        return None
    card_id = await connection.fetchval(_SQL["version_before"], tenant_id, card.product_id, moment)
    return None if card_id is None else await read(connection, tenant_id, card_id)


async def counters_before(connection: Connection, tenant_id: int, card: Card) -> set[CounterName]:
    """What earlier versions of a card's product have counted."""
    rows = await connection.fetch(_SQL["counters_before"], tenant_id, card.product_id, card.published_at)
    match = msgspec.json.decode
    return {(row["metric"], canonical(match(row["match"], type=dict[str, str])), row["measure"]) for row in rows}


async def create(connection: Connection, clock: Clock, tenant_id: int, draft: Draft) -> str:
    """Stores a draft and gives its id. Raises Problem invalid_currency, unknown_metric or product_not_found."""
    metric_ids = await _check(connection, tenant_id, draft)
    product_id = await products.resolve(connection, tenant_id, draft.product_id)
    card_id = new_short("rc", clock)
    effect = None if draft.effective_us is None else to_datetime(draft.effective_us)
    now = to_datetime(clock.now_us())
    await connection.execute(_SQL["insert_card"], tenant_id, card_id, product_id, draft.name, draft.currency, effect, now, draft.audience)
    await _insert_charges(connection, tenant_id, card_id, draft.charges, metric_ids)
    return card_id


async def replace(connection: Connection, tenant_id: int, card_id: str, draft: Draft) -> Card:
    """Puts another content into a draft and gives the card as it was.

    Raises Problem like `create`, and rate_card_not_found or rate_card_published.
    """
    metric_ids = await _check(connection, tenant_id, draft)
    card = await _unpublished(connection, tenant_id, card_id)
    product_id = card.product_id if draft.product_id is None else await products.resolve(connection, tenant_id, draft.product_id)
    effect = None if draft.effective_us is None else to_datetime(draft.effective_us)
    await connection.execute(_SQL["delete_charges"], tenant_id, card_id)
    await connection.execute(_SQL["update_card"], tenant_id, card_id, product_id, draft.name, draft.currency, effect, draft.audience)
    await _insert_charges(connection, tenant_id, card_id, draft.charges, metric_ids)
    return card


async def delete(connection: Connection, tenant_id: int, card_id: str) -> Card:
    """Deletes a draft and gives it. Raises Problem rate_card_not_found or rate_card_published."""
    await _lock(connection, tenant_id)
    card = await _unpublished(connection, tenant_id, card_id)
    await connection.execute(_SQL["delete_charges"], tenant_id, card_id)
    await connection.execute(_SQL["delete_card"], tenant_id, card_id)
    return card


async def publish(
    connection: Connection, clock: Clock, tenant_id: int, card_id: str, effective_us: int | None = None, audience: Audience | None = None
) -> Published:
    """Makes a draft the next version of its product, in force from `effective_us`, else from when the draft says, else at once.

    A product's first version for everyone is in force since ever unless it names a moment. One that names the moment of another, which
    must still be to come, takes its place: of versions with the same start the highest counts. One for customers to whom it is assigned (by
    `audience`, else by what the draft says) is in force by its assignments alone.

    Raises Problem rate_card_not_found, rate_card_published, currency_mismatch or invalid_rate_card.
    """
    tenant = await connection.fetchrow(_SQL["next_version"], tenant_id)
    if tenant is None:
        raise Problem("not_found", "The tenant does not exist.")
    card = await _unpublished(connection, tenant_id, card_id)
    refuse_ambiguous(card.charges)
    await connection.execute(_SQL["claim_metrics"], tenant_id, card_id, card.product_id)
    foreign = await connection.fetchrow(_SQL["foreign_metric"], tenant_id, card_id, card.product_id)
    if foreign is not None:
        raise Problem(
            "invalid_rate_card",
            f"{foreign['metric']} is priced by the product {foreign['theirs']}: no card of {foreign['ours']} can price it, too.",
            f"charges[{foreign['line']}].metric",
            products=[foreign["theirs"], foreign["ours"]],
        )
    now = to_datetime(clock.now_us())
    effect = card.effective_from if effective_us is None else to_datetime(effective_us)
    audience = audience or card.audience
    published = await connection.fetchrow(_SQL["published"], tenant_id, card.product_id, effect or now)
    assert published is not None
    if audience == "assigned":
        if effect is not None:
            raise Problem("invalid_rate_card", "A card for assigned customers takes effect by its assignments.", "effectiveFrom")
        effect = now
    elif card.currency != tenant["currency"]:
        detail = f"This merchant's customers have {tenant['currency']} unless they choose: so does a rate card for everyone."
        raise Problem("currency_mismatch", detail, "currency")
    elif published["cards"]:
        if effect is not None and effect < now:
            raise Problem("invalid_rate_card", "effectiveFrom lies in the past, where another card is in force.", "effectiveFrom")
        effect = effect or now
        if published["taken"] and effect <= now:
            # Of two versions with one start the higher one counts, so while nothing was priced by the other, this takes its place.
            raise Problem("invalid_rate_card", "Another rate card took effect at this very moment.", "effectiveFrom")
    await connection.execute(_SQL["number_charges"], tenant_id, card_id, *await _counters(connection, tenant_id, card, now))
    await connection.execute(_SQL["publish_card"], tenant_id, card_id, published["next"], effect, now, audience)
    done = msgspec.structs.replace(
        card, audience=audience, status="published", version=published["next"], effective_from=effect, published_at=now
    )
    return Published(card, done, tenant["catalog_version"])


_UNITS, _BLOCKS = "quantity", "blocks"
"""what a counter counts that decides what the next event costs: units, or units less those of the blocks that were bought"""
_MEASURES = (_UNITS, "period_quantity", "period_charge")
"""the places of a line's counters: of the next event (of one or the other kind); for a period's end of units, and of what events were
charged"""


async def _counters(connection: Connection, tenant_id: int, card: Card, now: datetime) -> list[list[int]]:
    """For each of _MEASURES the counter of each line of a card, 0 for lines that have none. Of one product, metric and match there is one
    of each, for good: versions of a line go on with it, and its currencies share it, since a customer has only one. Named here if no
    version before has done so."""
    by_number = [[0] * (1 + max(charge.line for charge in card.charges)) for _ in _MEASURES]
    counted = [charge for charge in card.charges if charge.counts or charge.settles]
    if not counted:
        return by_number
    metric_ids = {row["code"]: row["metric_id"] for row in await connection.fetch(_SQL["metric_ids"], tenant_id)}
    wanted = [
        (
            charge.line,
            place,
            (metric_ids[charge.metric], canonical(charge.match), _BLOCKS if place == 0 and charge.blocks == PERIOD else measure),
        )
        for charge in counted
        for place, measure in enumerate(_MEASURES)
        if (charge.settles if place else charge.counts)
    ]

    def by_name(rows: list[asyncpg.Record]) -> dict[tuple[int, bytes, str], int]:
        match = msgspec.json.decode
        return {(row["metric_id"], canonical(match(row["match"], type=dict[str, str])), row["measure"]): row["counter_id"] for row in rows}

    known = by_name(await connection.fetch(_SQL["counters"], tenant_id, card.product_id))
    new = list(dict.fromkeys(name for _, _, name in wanted if name not in known))
    if new:
        names = [metric_id for metric_id, _, _ in new], [match.decode() for _, match, _ in new], [measure for _, _, measure in new]
        known |= by_name(await connection.fetch(_SQL["name_counters"], tenant_id, card.product_id, *names, now))
    for line, place, name in wanted:
        by_number[place][line] = known[name]
    return by_number


async def _lock(connection: Connection, tenant_id: int) -> asyncpg.Record:
    """Keeps others from changing the tenant's cards until the commit. Gives the tenant's currency and billing."""
    tenant = await connection.fetchrow(_SQL["lock_tenant"], tenant_id)
    if tenant is None:
        raise Problem("not_found", "The tenant does not exist.")
    return tenant


async def _check(connection: Connection, tenant_id: int, draft: Draft) -> dict[str, int]:
    """What only the database can tell about a draft. Gives the ids of the tenant's metrics by code."""
    tenant = await _lock(connection, tenant_id)
    money.check_currency(draft.currency, "currency", known=tenant["currency"])
    known = {row["code"]: row["metric_id"] for row in await connection.fetch(_SQL["metric_ids"], tenant_id)}
    for charge in draft.charges:
        if charge.metric not in known:
            raise Problem("unknown_metric", "There is no such metric. POST /v1/metrics makes one.", f"charges[{charge.line}].metric")
        if charge.settles and tenant["billing"] == "prepaid":
            field = "model" if charge.model == VOLUME else "minimumPerPeriod"
            raise Problem(
                "invalid_rate_card",
                "This merchant's customers pay before: what a billing period costs at its end could not be charged. Volume tiers and "
                "minimums per period are for pay-as-you-go.",
                f"charges[{charge.line}].{field}",
            )
    return known


async def _unpublished(connection: Connection, tenant_id: int, card_id: str) -> Card:
    card = await read(connection, tenant_id, card_id)
    if card.status == "published":
        raise Problem("rate_card_published", "This rate card is published and never changes: a new one takes its place.", "rateCardId")
    return card


async def _insert_charges(connection: Connection, tenant_id: int, card_id: str, charges: list[Charge], metric_ids: dict[str, int]) -> None:
    await connection.execute(
        _SQL["insert_charges"],
        tenant_id,
        card_id,
        [metric_ids[charge.metric] for charge in charges],
        [msgspec.json.encode(charge.match).decode() for charge in charges],
        [charge.model for charge in charges],
        [charge.price for charge in charges],
        [charge.per for charge in charges],
        [charge.percent for charge in charges],
        [charge.minimum for charge in charges],
        [charge.allowance for charge in charges],
        [msgspec.json.encode([tier.wire for tier in charge.tiers]).decode() if charge.tiers else None for charge in charges],
        [charge.currency for charge in charges],
        [charge.line for charge in charges],
        [charge.minimum_per_period for charge in charges],
        [charge.blocks for charge in charges],
    )
