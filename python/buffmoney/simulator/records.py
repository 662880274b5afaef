"""Orders and refunds as they are kept. Money in fen, times in microseconds since 1970."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from buffmoney.simulator.keys import Channel

Product = Literal["native", "jsapi", "h5", "page", "wap", "precreate"]
State = Literal["waiting", "paid", "closed", "finished"]
RefundStatus = Literal["PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL"]
CURRENCY = "CNY"


@dataclass(frozen=True, slots=True)
class Order:
    """One payment order. state: `waiting` until it is paid or closed; `finished` is paid and beyond any refund (Alipay)."""

    order_id: int
    channel: Channel
    collector_id: str
    app_id: str
    sub_mchid: str | None
    sub_app_id: str | None
    order_no: str
    product: Product
    amount_fen: int
    description: str
    attach: str | None
    notify_url: str | None
    return_url: str | None
    openid: str | None
    fingerprint: str
    created_at_us: int
    expires_at_us: int
    exists_at_us: int | None
    state: State
    transaction_id: str
    payer: str | None
    fee_fen: int
    paid_at_us: int | None
    closed_at_us: int | None
    refunded_fen: int
    altered: str
    refund_refusal: str | None

    @property
    def paid(self) -> bool:
        """Whether money came, be it refunded since or not."""
        return self.paid_at_us is not None

    @property
    def alteration(self) -> dict[str, Any]:
        """What its callbacks are to say in place of the truth: amountFen, currency, collectorId, appId; `everywhere` for queries too."""
        found: dict[str, Any] = json.loads(self.altered)
        return found


@dataclass(frozen=True, slots=True)
class Refund:
    """One refund. Its amount counts as refunded from the start, and no longer once it is CLOSED."""

    refund_row: int
    order_id: int
    channel: Channel
    collector_id: str
    refund_no: str
    refund_id: str
    amount_fen: int
    fee_fen: int
    status: RefundStatus
    outcome: str
    reason: str | None
    notify_url: str | None
    accepted_at_us: int
    due_at_us: int | None
    finished_at_us: int | None


def to_order(row: sqlite3.Row | None) -> Order | None:
    """The order of a row of `orders`."""
    return None if row is None else Order(*row)


def to_refund(row: sqlite3.Row | None) -> Refund | None:
    """The refund of a row of `refunds`."""
    return None if row is None else Refund(*row)
