"""`POST /v1/usage-events`, and the routes that read usage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from buffmoney.base.http import Answer, Call, Route
from buffmoney.metering.accept import MAX_EVENTS, accept
from buffmoney.metering.charges import ROUTES as CHARGE_ROUTES
from buffmoney.metering.period_charges import ROUTES as PERIOD_CHARGE_ROUTES
from buffmoney.metering.usage import ROUTES as USAGE_ROUTES
from buffmoney.metering.void_sets import ROUTES as VOID_SET_ROUTES
from buffmoney.metering.voids import ROUTES as VOID_ROUTES


class UsageEvent(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """One use of one metric by one customer."""

    customer_external_id: Annotated[
        str, msgspec.Meta(min_length=1, max_length=255, description="Your id of the customer, at most 255 bytes.")
    ]
    idempotency_key: Annotated[
        str,
        msgspec.Meta(
            min_length=1, max_length=255, description="Names this event for good. The same key again is a duplicate and is not charged."
        ),
    ]
    metric: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,63}$", description="A built-in metric or one of yours.")]
    quantity: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[0-9]{1,18}(\.[0-9]{1,9})?$",
            description="Above zero, as a decimal string with at most 9 decimals. Integers may also be numbers.",
        ),
    ]
    occurred_at: Annotated[
        str,
        msgspec.Meta(
            description="RFC 3339 with a zone; at most 5 minutes ahead and 35 days back.", extra_json_schema={"format": "date-time"}
        ),
    ]
    dimensions: Annotated[
        dict[str, str], msgspec.Meta(description="model, region, tier and your own: what rate cards match and usage is grouped by.")
    ] = {}


class UsageBatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Up to 500 events. Each has its own outcome."""

    events: Annotated[list[UsageEvent], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class EventResult(msgspec.Struct, rename="camel", frozen=True):
    """What became of one event. index: its place in the request."""

    index: int
    outcome: Literal["accepted", "duplicate", "conflict", "rejected"]
    idempotency_key: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | msgspec.UnsetType | None = msgspec.UNSET
    detail: str | msgspec.UnsetType | None = msgspec.UNSET
    param: str | msgspec.UnsetType | None = msgspec.UNSET
    charge: str | msgspec.UnsetType | None = msgspec.UNSET


class UsageAnswer(msgspec.Struct, rename="camel", frozen=True):
    """What became of a batch. What is accepted is durable and in the ledger."""

    accepted: int
    duplicates: int
    rejected: Annotated[int, msgspec.Meta(description="Events that were not taken, conflicts among them.")]
    results: Annotated[
        list[EventResult], msgspec.Meta(description="What was not accepted; with results=all every event, each with its charge.")
    ]
    charged: Annotated[
        str | None, msgspec.Meta(description="The sum of the accepted events' charges; null where they are in several currencies.")
    ]
    charged_by_currency: Annotated[dict[str, str], msgspec.Meta(description="The same by the currency of the customers' wallets.")]
    balances: Annotated[dict[str, str], msgspec.Meta(description="What is available to each customer of the batch, after it.")]
    request_id: str


class UsageQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Parameters of POST /v1/usage-events."""

    results: Annotated[
        Literal["all", "rejected"],
        msgspec.Meta(description="`all`: accepted events are in `results` too. `rejected`: only what was not accepted."),
    ] = "rejected"


async def post_usage_events(call: Call) -> Answer:
    """Takes a batch. The body is decoded in Rust."""
    return await accept(call, call.query.results == "all")


EXAMPLE_BATCH: dict[str, Any] = {
    "events": [
        {
            "customerExternalId": "acme",
            "idempotencyKey": "call-4711-in",
            "metric": "tokens_input",
            "quantity": "1200",
            "occurredAt": "2025-06-01T08:30:00Z",
            "dimensions": {"model": "gpt-4o"},
        },
        {
            "customerExternalId": "acme",
            "idempotencyKey": "call-4711-out",
            "metric": "tokens_output",
            "quantity": "350",
            "occurredAt": "2025-06-01T08:30:00Z",
            "dimensions": {"model": "gpt-4o"},
        },
    ]
}
EXAMPLE_ANSWER: dict[str, Any] = {
    "accepted": 2,
    "duplicates": 0,
    "rejected": 0,
    "results": [],
    "charged": "0.0104",
    "chargedByCurrency": {"CNY": "0.0104"},
    "balances": {"acme": "99.9896"},
    "requestId": "req_0197a1b2c3d4e5f60718293a4b5c6d7e",
}

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/usage-events",
        handler=post_usage_events,
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
        errors=(
            "malformed_json",
            "unexpected_idempotency_key",
            "too_many_events",
            "empty_batch",
            "invalid_batch",
            "invalid_event",
            "unknown_field",
            "missing_field",
            "invalid_customer",
            "invalid_idempotency_key",
            "invalid_metric",
            "invalid_quantity",
            "invalid_time",
            "too_old",
            "in_future",
            "invalid_dimensions",
        ),
        idempotency="events",
        raw=True,
        body_example=EXAMPLE_BATCH,
        answer_example=EXAMPLE_ANSWER,
    ),
    *USAGE_ROUTES,
    *CHARGE_ROUTES,
    *PERIOD_CHARGE_ROUTES,
    *VOID_ROUTES,
    *VOID_SET_ROUTES,
)
