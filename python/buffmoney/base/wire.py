"""What the fields of requests and answers are made of, as the API's document says it.

These types describe and do not check: a request's field of such a type is still parsed by its handler, which refuses it with a code of
its own (`invalid_amount`, `invalid_time`) in place of a general one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec


def _text(**schema: Any) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema=schema)


Number = Annotated[str, _text(format="decimal", pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,9})?$")]
"""an amount or a quantity in an answer"""
NumberInput = Annotated[str, _text(format="decimal", pattern=r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?$")]
"""an amount or a quantity in a request"""
Time = Annotated[str, _text(format="date-time")]
Date = Annotated[str, _text(format="date")]
Currency = Annotated[str, _text(pattern="^[A-Z]{3}$")]
CustomerId = Annotated[str, _text(minLength=1, maxLength=255)]
MetricCode = Annotated[str, _text(pattern="^[a-z][a-z0-9_]{0,63}$")]
TimeZone = Annotated[str, _text(maxLength=255)]
Address = Annotated[str, _text(format="uri")]
Mode = Literal["sandbox", "live"]

QUANTITY: dict[str, Any] = {
    "anyOf": [{"type": "string", "format": "decimal", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?$"}, {"type": "integer", "minimum": 1}]
}
"""of a usage event: the schema of what the Rust core decodes"""
DIMENSIONS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
EVENT_CODES = (
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
)
"""with which events are refused for their form"""


class UsageEvent(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """One use of one metric by one customer.

    customerExternalId: your id of the customer, at most 255 bytes. idempotencyKey: names this event for good; the same key again is a
    duplicate and is not charged. metric: a built-in metric or one of yours. quantity: above zero, a decimal string with at most 9
    decimals; integers may also be numbers. occurredAt: RFC 3339 with a zone, at most 5 minutes ahead and 35 days back. dimensions: model,
    region, tier and your own, what rate cards match and usage is grouped by.
    """

    customer_external_id: CustomerId
    idempotency_key: Annotated[str, _text(minLength=1, maxLength=255)]
    metric: MetricCode
    quantity: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=QUANTITY)]
    occurred_at: Time
    dimensions: dict[str, str] = {}


class EventResult(msgspec.Struct, rename="camel", frozen=True):
    """What became of one event.

    index: its place in the request, from 0. outcome: only `accepted` events are charged; `conflict`: the key was used with other
    content. idempotencyKey: that of the event, null where it could not be read. code: of an event that was not taken, one of the API's
    error codes. detail: one sentence for the developer. param: the field at fault. charge: what the event was charged, of a duplicate
    what it was charged the first time.
    """

    index: int
    outcome: Literal["accepted", "duplicate", "conflict", "rejected"]
    idempotency_key: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | msgspec.UnsetType | None = msgspec.UNSET
    detail: str | msgspec.UnsetType | None = msgspec.UNSET
    param: str | msgspec.UnsetType | None = msgspec.UNSET
    charge: Number | msgspec.UnsetType | None = msgspec.UNSET
