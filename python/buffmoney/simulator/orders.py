"""Payment orders: the one truth behind both channels' faces.

An order waits until it is paid or closed, once and for good. Everything here runs in one transaction per step and announces what it did
in the same one.
"""

from __future__ import annotations

import secrets
from typing import Any

from buffmoney.simulator.announcing import Announcer
from buffmoney.simulator.channel_time import DAY_US, SECOND_US, ChannelClock, day_of
from buffmoney.simulator.fen import fee
from buffmoney.simulator.keys import Channel
from buffmoney.simulator.records import Order, to_order
from buffmoney.simulator.store import Store

REFUND_WINDOW_US = {"wechat": 365 * DAY_US, "alipay": 360 * DAY_US}
"""how long after a payment it can be refunded; at Alipay the trade is finished then"""

# Asked at every request. Without the index's name SQLite takes another one and reads all of a channel's orders.
_WAITING = "orders INDEXED BY orders_waiting WHERE channel = 'alipay' AND state = 'waiting' AND exists_at_us IS NOT NULL"
_TO_FINISH = "orders INDEXED BY orders_to_finish WHERE channel = 'alipay' AND state = 'paid'"


class PayRefused(Exception):
    """A payer cannot pay. reason: unknown_code, code_expired, code_replaced, order_expired, closed, already_paid."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Orders:
    """All orders of all merchants."""

    def __init__(self, store: Store, clock: ChannelClock, announcer: Announcer) -> None:
        self._store = store
        self._clock = clock
        self._announcer = announcer

    # ---- looking up

    def find(self, channel: Channel, collector_id: str, order_no: str) -> Order | None:
        """By the merchant's own number."""
        return to_order(
            self._store.one("SELECT * FROM orders WHERE channel = ? AND collector_id = ? AND order_no = ?", channel, collector_id, order_no)
        )

    def find_transaction(self, channel: Channel, collector_id: str, transaction_id: str) -> Order | None:
        """By the channel's number, which only exists once the merchant may know it."""
        order = to_order(
            self._store.one(
                "SELECT * FROM orders WHERE channel = ? AND collector_id = ? AND transaction_id = ?", channel, collector_id, transaction_id
            )
        )
        visible = order is not None and (order.paid if channel == "wechat" else order.exists_at_us is not None)
        return order if visible else None

    def read(self, order_id: int) -> Order:
        """By the simulator's own number, which must exist."""
        order = to_order(self._store.one("SELECT * FROM orders WHERE order_id = ?", order_id))
        if order is None:
            raise KeyError(order_id)
        return order

    def with_number(self, order_no: str) -> list[Order]:
        """Every order of this number: different collectors may use the same one."""
        rows = self._store.all("SELECT * FROM orders WHERE order_no = ? ORDER BY order_id", order_no)
        return [Order(*row) for row in rows]

    def waiting(self, limit: int) -> list[tuple[Order, str]]:
        """The newest orders that could be paid now, each with its code's token."""
        now = self._clock.now_us()
        rows = self._store.all(
            "SELECT o.*, c.token FROM orders o JOIN codes c USING (order_id) WHERE o.state = 'waiting' AND o.expires_at_us > ? "
            "AND c.expires_at_us > ? AND NOT c.replaced ORDER BY o.order_id DESC LIMIT ?",
            now,
            now,
            limit,
        )
        return [(Order(*tuple(row)[:-1]), row["token"]) for row in rows]

    # ---- codes

    def new_code(self, order: Order, token: str, lives_us: int) -> None:
        """What a payer scans or opens from now on. The order's former codes are dead."""
        with self._store.transaction():
            self._store.execute("UPDATE codes SET replaced = 1 WHERE order_id = ?", order.order_id)
            self._store.insert("codes", token=token, order_id=order.order_id, expires_at_us=self._clock.now_us() + lives_us)

    def code_of(self, order: Order) -> str | None:
        """The token of the order's living code."""
        token: str | None = self._store.value("SELECT token FROM codes WHERE order_id = ? AND NOT replaced", order.order_id)
        return token

    def look_up(self, token: str) -> Order:
        """The order behind a code, payable or not. Raises PayRefused unknown_code."""
        row = self._store.one("SELECT order_id FROM codes WHERE token = ?", token)
        if row is None:
            raise PayRefused("unknown_code")
        return self.read(row["order_id"])

    def payable(self, token: str) -> Order:
        """The order behind a code, if it can be paid now. Raises PayRefused."""
        order = self.look_up(token)
        code = self._store.one("SELECT expires_at_us, replaced FROM codes WHERE token = ?", token)
        assert code is not None
        now = self._clock.now_us()
        if order.paid:
            raise PayRefused("already_paid")
        if order.state != "waiting":
            raise PayRefused("closed")
        if now >= order.expires_at_us:
            raise PayRefused("order_expired")
        if code["replaced"]:
            raise PayRefused("code_replaced")
        if now >= code["expires_at_us"]:
            raise PayRefused("code_expired")
        return order

    # ---- steps

    def create(self, **values: Any) -> Order:
        """A new order that waits. Raises sqlite3.IntegrityError if the collector has used its number."""
        now = self._clock.now_us()
        with self._store.transaction():
            number = self._store.insert(
                "orders",
                created_at_us=now,
                state="waiting",
                transaction_id=_wechat_transaction(now) if values["channel"] == "wechat" else _alipay_trade(now),
                **values,
            )
        return self.read(number)

    def set_expiry(self, order: Order, expires_at_us: int) -> None:
        """Sets the end of an order that was made without one."""
        with self._store.transaction():
            self._store.execute("UPDATE orders SET expires_at_us = ? WHERE order_id = ?", expires_at_us, order.order_id)

    def touch(self, token: str) -> Order:
        """The payer has scanned or logged in: at Alipay the trade exists from here on. Raises PayRefused."""
        order = self.payable(token)
        if order.exists_at_us is None:
            with self._store.transaction():
                self._store.execute("UPDATE orders SET exists_at_us = ? WHERE order_id = ?", self._clock.now_us(), order.order_id)
        return self.read(order.order_id)

    def pay(self, token: str, payer: str) -> Order:
        """The payer pays the whole amount. Raises PayRefused; of two at once, one is refused."""
        with self._store.transaction():
            order = self.touch(token)
            self._store.execute(
                "UPDATE orders SET state = 'paid', paid_at_us = ?, payer = ?, fee_fen = ? WHERE order_id = ? AND state = 'waiting'",
                self._clock.now_us(),
                order.openid or payer,
                fee(order.amount_fen),
                order.order_id,
            )
            paid = self.read(order.order_id)
            self._announcer.announce(paid, "payment")
        return paid

    def close(self, order: Order) -> Order:
        """The merchant gives an order up that waits. At neither channel is that announced."""
        with self._store.transaction():
            self._store.execute(
                "UPDATE orders SET state = 'closed', closed_at_us = ? WHERE order_id = ? AND state = 'waiting'",
                self._clock.now_us(),
                order.order_id,
            )
        return self.read(order.order_id)

    # ---- what time does

    def keep_up(self) -> None:
        """Alipay's trades that time closes or finishes. WeChat's only stop taking payments."""
        now = self._clock.now_us()
        due = self._store.all(
            f"SELECT order_id, state FROM {_WAITING} AND expires_at_us <= ? "  # noqa: S608 - our own words
            f"UNION ALL SELECT order_id, state FROM {_TO_FINISH} AND paid_at_us <= ? LIMIT 500",
            now,
            now - REFUND_WINDOW_US["alipay"],
        )
        for row in due:
            with self._store.transaction():
                if row["state"] == "waiting":
                    self._store.execute(
                        "UPDATE orders SET state = 'closed', closed_at_us = expires_at_us WHERE order_id = ?", row["order_id"]
                    )
                    self._announcer.announce(self.read(row["order_id"]), "closed")
                else:
                    self._store.execute("UPDATE orders SET state = 'finished' WHERE order_id = ?", row["order_id"])
                    order = self.read(row["order_id"])
                    if order.refunded_fen < order.amount_fen:
                        self._announcer.announce(order, "finished")

    def next_due_us(self) -> int | None:
        """When `keep_up` has something to do next."""
        found = [
            self._store.value(f"SELECT min(expires_at_us) FROM {_WAITING}"),  # noqa: S608 - our own words
            self._store.value(f"SELECT min(paid_at_us) + ? FROM {_TO_FINISH}", REFUND_WINDOW_US["alipay"]),  # noqa: S608
        ]
        return min((int(at) for at in found if at is not None), default=None)

    # ---- what somebody asks for on demand

    def alter(self, order: Order, altered: str, refund_refusal: str | None) -> Order:
        """What its callbacks say in place of the truth (JSON), and the code with which refunds are refused."""
        with self._store.transaction():
            self._store.execute(
                "UPDATE orders SET altered = ?, refund_refusal = ? WHERE order_id = ?", altered, refund_refusal, order.order_id
            )
        return self.read(order.order_id)

    def announce_again(self, order: Order) -> None:
        """A new callback of a paid order."""
        with self._store.transaction():
            self._announcer.announce(order, "payment")


def _wechat_transaction(now_us: int) -> str:
    """28 digits, the day within them."""
    return f"4200002{secrets.randbelow(1000):03d}{_day(now_us)}{secrets.randbelow(10**10):010d}"


def _alipay_trade(now_us: int) -> str:
    """28 digits that begin with the day."""
    return f"{_day(now_us)}2200{secrets.randbelow(10**16):016d}"


def _day(now_us: int) -> str:
    return f"{day_of(now_us):%Y%m%d}"


def lives_until(order: Order, now_us: int, at_most_s: int) -> int:
    """How long a code may live, in microseconds: the channel's own limit, and not beyond the order's end."""
    return max(min(order.expires_at_us - now_us, at_most_s * SECOND_US), 0)
