"""Every failure that a client can see, in one place: its code, its HTTP status, whether a repetition can help.

Codes are stable and never reused. `Problem` is raised anywhere and turned into application/problem+json (RFC 9457) by the edge alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One registered failure. retryable: the same request may succeed later without a change."""

    code: str
    status: int
    retryable: bool
    title: str


def _codes(*rows: tuple[str, int, bool, str]) -> dict[str, ErrorCode]:
    codes: dict[str, ErrorCode] = {}
    for code, status, retryable, title in rows:
        if code in codes:
            raise ValueError(f"{code} is registered twice")
        codes[code] = ErrorCode(code, status, retryable, title)
    return codes


CODES = _codes(
    # ---- the request as such
    ("malformed_json", 400, False, "The body is not valid JSON"),
    ("invalid_request", 400, False, "The request is malformed"),
    ("invalid_cursor", 400, False, "The cursor is not one of this list"),
    ("invalid_header", 400, False, "A request header is malformed"),
    ("missing_api_key", 401, False, "No API key was given"),
    ("invalid_api_key", 401, False, "The API key is unknown, expired or revoked"),
    ("forbidden", 403, False, "The API key may not do this"),
    ("not_found", 404, False, "No such thing"),
    ("method_not_allowed", 405, False, "The path exists, but not with this method"),
    ("not_acceptable", 406, False, "Only application/json is offered"),
    ("request_timeout", 408, True, "The body did not arrive in time"),
    ("idempotency_conflict", 409, False, "The same key was used before with other content"),
    ("idempotency_in_progress", 409, True, "A request with the same key is being answered"),
    ("length_required", 411, False, "The length of the body is needed"),
    ("body_too_large", 413, False, "The body is too large"),
    ("too_many_events", 413, False, "More events than one batch may hold"),
    ("uri_too_long", 414, False, "The address is too long"),
    ("unsupported_media_type", 415, False, "The body must be application/json"),
    ("unsupported_encoding", 415, False, "The body's encoding is not supported"),
    ("invalid_body", 422, False, "The body does not have the expected form"),
    ("invalid_parameter", 422, False, "A parameter is not valid"),
    ("unknown_field", 422, False, "A field is not known"),
    ("missing_field", 422, False, "A field is missing"),
    ("invalid_idempotency_key", 422, False, "The idempotency key is not valid"),
    ("unexpected_idempotency_key", 422, False, "The header Idempotency-Key is not taken here"),
    ("too_many_requests", 429, True, "Too many requests"),
    ("overloaded", 429, True, "More requests are in flight than can be answered in time"),
    # ---- usage
    ("empty_batch", 422, False, "The batch has no events"),
    ("invalid_batch", 422, False, "The batch does not have the expected form"),
    ("invalid_event", 422, False, "The event does not have the expected form"),
    ("invalid_customer", 422, False, "The customer's id is not valid"),
    ("invalid_metric", 422, False, "The metric's code is not valid"),
    ("invalid_quantity", 422, False, "The quantity is not valid"),
    ("invalid_time", 422, False, "The time is not valid"),
    ("invalid_dimensions", 422, False, "The dimensions are not valid"),
    ("too_old", 422, False, "The event is older than usage is taken for"),
    ("in_future", 422, False, "The event lies in the future"),
    ("unknown_metric", 422, False, "The metric does not exist"),
    ("no_price", 422, False, "No rate card in force prices this"),
    ("amount_out_of_range", 422, False, "The amount is outside of what can be kept"),
    ("currency_mismatch", 422, False, "The currency is not the wallet's"),
    ("event_not_found", 404, False, "No event has this idempotency key"),
    ("event_voided", 409, False, "The event is voided already"),
    ("set_changed", 409, False, "These are not the events that were previewed"),
    ("void_too_large", 422, False, "More events than one call may void"),
    ("invalid_reason", 422, False, "The reason is not valid"),
    # ---- wallets
    ("insufficient_balance", 402, False, "The available balance, or what the customer may owe, does not cover this"),
    ("unknown_customer", 404, False, "The customer does not exist"),
    ("hold_not_found", 404, False, "The hold does not exist"),
    ("grant_not_found", 404, False, "The grant does not exist"),
    ("hold_closed", 409, False, "The hold was captured or released before"),
    ("hold_expired", 409, False, "The hold has expired"),
    ("customer_mismatch", 422, False, "An event belongs to another customer than the hold"),
    ("capture_exceeds_hold", 422, False, "More than the hold holds"),
    ("too_many_grants", 422, False, "The wallet has as many open grants as it may"),
    ("invalid_amount", 422, False, "The amount is not valid"),
    ("invalid_currency", 422, False, "The currency is not valid"),
    ("invalid_kind", 422, False, "The kind of grant is not valid"),
    ("invalid_priority", 422, False, "The priority is not valid"),
    ("invalid_expiry", 422, False, "The expiry is not valid"),
    ("invalid_ttl", 422, False, "The time to live is not valid"),
    # ---- pricing
    ("rate_card_not_found", 404, False, "The rate card does not exist"),
    ("product_not_found", 404, False, "The product does not exist"),
    ("rate_card_published", 409, False, "The rate card is published and never changes"),
    ("product_exists", 409, False, "A product with this code exists"),
    ("metric_exists", 409, False, "A metric with this code exists"),
    ("invalid_rate_card", 422, False, "The rate card is not valid"),
    ("invalid_assignment", 422, False, "The assignment of a rate card is not valid"),
    ("too_many_assignments", 422, False, "The tenant has as many assignments of rate cards as it may"),
    ("invalid_price", 422, False, "The price is not valid"),
    ("invalid_product", 422, False, "The product is not valid"),
    ("too_many_products", 422, False, "The tenant has as many products as it may"),
    ("too_many_metrics", 422, False, "The tenant has as many metrics as it may"),
    ("simulation_too_large", 422, False, "The simulation covers more usage than one request may"),
    # ---- top-ups, payments and refunds
    ("top_up_not_found", 404, False, "The top-up does not exist"),
    ("promotion_not_found", 404, False, "The promotion does not exist"),
    ("refund_not_found", 404, False, "The refund does not exist"),
    ("top_up_closed", 409, False, "The top-up is paid, cancelled or expired"),
    ("top_up_not_paid", 409, False, "The top-up is not paid"),
    ("top_up_not_credited", 409, True, "The top-up's credits have not arrived yet"),
    ("too_many_attempts", 409, False, "The top-up was tried to be paid as often as it may"),
    ("invalid_promotion", 422, False, "The promotion is not valid"),
    ("refund_exceeds_payment", 422, False, "More than is left of the payment"),
    ("refund_exceeds_unspent", 422, False, "More than is unspent of the credits"),
    ("refund_window_over", 422, False, "The time in which the payment can be refunded is over"),
    ("too_many_refunds", 422, False, "The payment was refunded in as many parts as it may"),
    ("channel_not_configured", 422, False, "The merchant has no account at this payment channel"),
    ("channel_refused", 422, False, "The payment channel refused"),
    ("invalid_channel_account", 422, False, "The account at the payment channel is not valid"),
    ("channel_account_not_found", 404, False, "The account at the payment channel does not exist"),
    ("channel_unavailable", 503, True, "The payment channel did not answer"),
    # ---- merchants and keys
    ("invalid_merchant", 422, False, "The merchant is not valid"),
    ("invalid_billing_period", 422, False, "The billing period is not valid"),
    ("too_many_changes", 422, False, "The setting was changed as often as it may before it takes effect"),
    ("merchant_not_found", 404, False, "The merchant does not exist"),
    ("key_not_found", 404, False, "The API key does not exist"),
    # ---- the system
    ("internal_error", 500, True, "Something went wrong here"),
    ("redis_unavailable", 503, True, "Redis cannot be reached"),
    ("database_unavailable", 503, True, "PostgreSQL cannot be reached"),
    ("core_unavailable", 503, True, "The core of this partition is not there"),
    ("outcome_unknown", 503, True, "The outcome is not known: repeat the request with the same keys to learn it"),
    ("not_ready", 503, True, "The system is not ready"),
    ("shutting_down", 503, True, "The process is shutting down"),
)
"""Every code by its name."""


class Problem(Exception):
    """A failure with a registered code.

    detail: one sentence for the developer, without secrets. param: the field, query parameter or header at fault.
    retry_after: seconds to wait. extensions: further members of the problem+json object.
    """

    def __init__(self, code: str, detail: str = "", param: str | None = None, retry_after: int | None = None, **extensions: Any) -> None:
        registered = CODES.get(code)
        if registered is None:
            raise ValueError(f"{code!r} is not a registered error code")
        super().__init__(f"{code}: {detail or registered.title}")
        self.code = code
        self.status = registered.status
        self.retryable = registered.retryable
        self.title = registered.title
        self.detail = detail or registered.title + "."
        self.param = param
        # A client that may try again is always told when.
        self.retry_after = retry_after if retry_after is not None else (1 if registered.status in (429, 503) else None)
        self.extensions = extensions


class RedisUnavailable(Problem):
    """Redis cannot be reached or did not answer in time. Whether the last commands took effect is not known."""

    def __init__(self, detail: str = "Redis cannot be reached.") -> None:
        super().__init__("redis_unavailable", detail)


class DatabaseUnavailable(Problem):
    """PostgreSQL cannot be reached or did not answer in time."""

    def __init__(self, detail: str = "PostgreSQL cannot be reached.") -> None:
        super().__init__("database_unavailable", detail)
