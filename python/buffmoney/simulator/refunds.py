"""Refunds: accepted, then settled or not. What they add up to never exceeds what was paid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from buffmoney.simulator.announcing import Announcer
from buffmoney.simulator.channel_time import SECOND_US, ChannelClock, day_of
from buffmoney.simulator.fen import fee_returned
from buffmoney.simulator.keys import Channel
from buffmoney.simulator.merchants import Merchant, digits
from buffmoney.simulator.records import Order, Refund, to_refund
from buffmoney.simulator.store import Store

Outcome = Literal["SUCCESS", "CLOSED", "ABNORMAL", "WAIT"]
OUTCOMES: tuple[Outcome, ...] = ("SUCCESS", "CLOSED", "ABNORMAL", "WAIT")
MOST_PARTS = 50


@dataclass(frozen=True, slots=True)
class RefundBehaviour:
    """What becomes of new refunds: the outcome after delay_s, WAIT for never by itself. gap_s: WeChat's time between two of one order."""

    outcome: Outcome = "SUCCESS"
    delay_s: float = 1.0
    gap_s: float = 60.0


class Refunds:
    """All refunds of all orders."""

    def __init__(self, store: Store, clock: ChannelClock, announcer: Announcer) -> None:
        self._store = store
        self._clock = clock
        self._announcer = announcer
        self.behaviour = RefundBehaviour(**store.setting("refunds", {}))

    def behave(self, behaviour: RefundBehaviour) -> None:
        """Changes what becomes of new refunds."""
        with self._store.transaction():
            self._store.set_setting("refunds", asdict(behaviour))
        self.behaviour = behaviour

    def find(self, order: Order, refund_no: str) -> Refund | None:
        """A refund of an order by the merchant's number."""
        return to_refund(self._store.one("SELECT * FROM refunds WHERE order_id = ? AND refund_no = ?", order.order_id, refund_no))

    def find_number(self, channel: Channel, collector_id: str, refund_no: str) -> Refund | None:
        """A refund of a collector by the merchant's number."""
        return to_refund(
            self._store.one(
                "SELECT * FROM refunds WHERE channel = ? AND collector_id = ? AND refund_no = ?", channel, collector_id, refund_no
            )
        )

    def of_order(self, order: Order) -> list[Refund]:
        """An order's refunds, the first one first."""
        return [Refund(*row) for row in self._store.all("SELECT * FROM refunds WHERE order_id = ? ORDER BY refund_row", order.order_id)]

    def accept(
        self, order: Order, merchant: Merchant, refund_no: str, amount_fen: int, reason: str | None, notify_url: str | None, at_once: bool
    ) -> Refund:
        """Takes a refund that the channel's rules allow. at_once: it is through when this returns, unless refunds are told to wait."""
        now = self._clock.now_us()
        outcome = self.behaviour.outcome
        due = None if outcome == "WAIT" else now if at_once else now + round(self.behaviour.delay_s * SECOND_US)
        fee = 0 if order.channel == "alipay" else fee_returned(order.amount_fen, order.refunded_fen, self._returned_fen(order), amount_fen)
        with self._store.transaction():
            # The order's CHECK refuses a sum above what was paid, whatever was looked at before.
            self._store.execute("UPDATE orders SET refunded_fen = refunded_fen + ? WHERE order_id = ?", amount_fen, order.order_id)
            if merchant.refundable_fen is not None:
                self._store.execute(
                    "UPDATE merchants SET refundable_fen = refundable_fen - ? WHERE channel = ? AND collector_id = ?",
                    amount_fen,
                    merchant.channel,
                    merchant.collector_id,
                )
            row = self._store.insert(
                "refunds",
                order_id=order.order_id,
                channel=order.channel,
                collector_id=order.collector_id,
                refund_no=refund_no,
                refund_id=f"503{digits(7)}{day_of(now):%Y%m%d}{digits(11)}",
                amount_fen=amount_fen,
                fee_fen=fee,
                status="PROCESSING",
                outcome=outcome,
                reason=reason,
                notify_url=notify_url,
                accepted_at_us=now,
                due_at_us=due,
            )
            if at_once and due is not None:
                self._finish(row)
        return self._read(row)

    def settle(self, refund: Refund, outcome: Outcome) -> Refund:
        """Ends a refund on demand that is still under way, or is ABNORMAL."""
        with self._store.transaction():
            self._store.execute("UPDATE refunds SET outcome = ? WHERE refund_row = ?", outcome, refund.refund_row)
            if outcome != "WAIT":
                self._finish(refund.refund_row)
        return self._read(refund.refund_row)

    def keep_up(self) -> None:
        """Ends the refunds whose time has come."""
        rows = self._store.all(
            "SELECT refund_row FROM refunds WHERE due_at_us <= ? ORDER BY due_at_us, refund_row LIMIT 500", self._clock.now_us()
        )
        for row in rows:
            with self._store.transaction():
                self._finish(row["refund_row"])

    def next_due_us(self) -> int | None:
        """When `keep_up` has something to do next."""
        at: int | None = self._store.value("SELECT min(due_at_us) FROM refunds WHERE due_at_us IS NOT NULL")
        return at

    def _finish(self, row: int) -> None:
        self._store.execute(
            "UPDATE refunds SET status = outcome, due_at_us = NULL, finished_at_us = ? WHERE refund_row = ?", self._clock.now_us(), row
        )
        refund = self._read(row)
        if refund.status == "CLOSED":
            self._store.execute("UPDATE orders SET refunded_fen = refunded_fen - ? WHERE order_id = ?", refund.amount_fen, refund.order_id)
        order = Order(*(self._store.one("SELECT * FROM orders WHERE order_id = ?", refund.order_id) or ()))
        if order.channel == "wechat" or refund.status == "SUCCESS":
            self._announcer.announce(order, "refund", refund)

    def _returned_fen(self, order: Order) -> int:
        parts = "SELECT coalesce(sum(fee_fen), 0) FROM refunds WHERE order_id = ? AND status <> 'CLOSED'"
        return int(self._store.value(parts, order.order_id))

    def _read(self, row: int) -> Refund:
        refund = to_refund(self._store.one("SELECT * FROM refunds WHERE refund_row = ?", row))
        if refund is None:
            raise KeyError(row)
        return refund
