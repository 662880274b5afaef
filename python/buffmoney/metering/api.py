"""`POST /v1/usage-events`, and the routes that read usage."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from buffmoney.base.http import Answer, Call, Route
from buffmoney.base.wire import EVENT_CODES, EventResult, Number, UsageEvent
from buffmoney.metering.accept import MAX_EVENTS, accept
from buffmoney.metering.charges import ROUTES as CHARGE_ROUTES
from buffmoney.metering.period_charges import ROUTES as PERIOD_CHARGE_ROUTES
from buffmoney.metering.usage import ROUTES as USAGE_ROUTES
from buffmoney.metering.void_sets import ROUTES as VOID_SET_ROUTES
from buffmoney.metering.voids import ROUTES as VOID_ROUTES


class UsageBatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Usage. events: up to 500, each with an outcome of its own."""

    events: Annotated[list[UsageEvent], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class UsageAnswer(msgspec.Struct, rename="camel", frozen=True):
    """What became of a batch. What is accepted is durable and in the ledger.

    accepted, duplicates: how many events had this outcome.
    """

    accepted: int
    duplicates: int
    rejected: Annotated[int, msgspec.Meta(description="Events that were not taken, conflicts among them.")]
    results: Annotated[
        list[EventResult], msgspec.Meta(description="What was not accepted; with results=all every event, each with its charge.")
    ]
    charged: Annotated[
        Number | None, msgspec.Meta(description="The sum of the accepted events' charges; null where they are in several currencies.")
    ]
    charged_by_currency: Annotated[dict[str, Number], msgspec.Meta(description="The same by the currency of the customers' wallets.")]
    balances: Annotated[dict[str, Number], msgspec.Meta(description="What is available to each customer of the batch, after it.")]
    request_id: str


class UsageQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What is told of a batch."""

    results: Annotated[
        Literal["all", "rejected"],
        msgspec.Meta(description="`all`: accepted events are in `results` too. `rejected`: only what was not accepted."),
    ] = "rejected"


async def ingest_usage_events(call: Call) -> Answer:
    """Takes a batch. The body is decoded in Rust."""
    return await accept(call, call.query.results == "all")


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/usage-events",
        handler=ingest_usage_events,
        summary="Record usage, up to 500 events at once",
        description=(
            "Every event is rated by the rate card in force when it occurred, deducted from the customer's balance and written to the "
            "ledger, exactly once. 200 means durable. Events that are not taken have an outcome of their own and do not touch their "
            "neighbours; a rejection is not remembered, so the same key may succeed after a top-up. Repeat the whole request after a "
            "503 or a lost connection: what was accepted before is not charged again. Each event carries its own `idempotencyKey`, the "
            "same in every attempt; a header `Idempotency-Key` is refused with `unexpected_idempotency_key`."
        ),
        tag="Usage",
        body=UsageBatch,
        query=UsageQuery,
        answer=UsageAnswer,
        errors=("malformed_json", "unexpected_idempotency_key", *EVENT_CODES),
        idempotency="events",
        raw=True,
    ),
    *USAGE_ROUTES,
    *CHARGE_ROUTES,
    *PERIOD_CHARGE_ROUTES,
    *VOID_ROUTES,
    *VOID_SET_ROUTES,
)
