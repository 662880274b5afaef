"""What merchants are to be told, written down in the transaction of what happened; `courier` brings it to them."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import Literal

from buffmoney.simulator.alipay import notices as alipay_notices
from buffmoney.simulator.channel_time import SECOND_US, ChannelClock
from buffmoney.simulator.records import Order, Refund
from buffmoney.simulator.store import Store
from buffmoney.simulator.wechat import notices as wechat_notices

Mode = Literal["normal", "off", "duplicate", "reordered", "late", "probe", "forged", "unsigned"]
MODES: tuple[Mode, ...] = ("normal", "off", "duplicate", "reordered", "late", "probe", "forged", "unsigned")
REORDERED_S = 2.0
LATE_S = 60.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How callbacks go.

    off: none goes out until that ends. duplicate: each attempt is made `times` times at once. reordered: what comes about within
    `delay_s` goes out after it, the newest first. late: `delay_s` after the fact. probe, forged, unsigned: before each real attempt one that
    must be refused: WeChat's probe, a signature by another key, none at all. speed divides the waits between attempts.
    """

    mode: Mode = "normal"
    times: int = 2
    delay_s: float | None = None
    speed: float = 1.0

    @property
    def wait_s(self) -> float:
        """How long a new callback waits before its first attempt."""
        if self.mode == "reordered":
            return REORDERED_S if self.delay_s is None else self.delay_s
        if self.mode == "late":
            return LATE_S if self.delay_s is None else self.delay_s
        return 0.0


class Announcer:
    """Writes callbacks down."""

    def __init__(self, store: Store, clock: ChannelClock) -> None:
        self._store = store
        self._clock = clock
        self.behaviour = Behaviour(**store.setting("callbacks", {}))

    def behave(self, behaviour: Behaviour) -> None:
        """Changes how callbacks go. Waits that have begun are stretched or shortened to the new speed."""
        now = self._clock.now_us()
        factor = self.behaviour.speed / behaviour.speed
        with self._store.transaction():
            self._store.set_setting("callbacks", asdict(behaviour))
            self._store.execute(
                "UPDATE notices SET next_at_us = ? + CAST((next_at_us - ?) * ? AS INTEGER) WHERE attempts > 0 AND next_at_us > ?",
                now,
                now,
                factor,
                now,
            )
        self.behaviour = behaviour

    def announce(self, order: Order, kind: Literal["payment", "refund", "closed", "finished"], refund: Refund | None = None) -> None:
        """One callback of an order, in the caller's transaction. Nothing if nobody gave an address for it."""
        url = order.notify_url
        if order.channel == "wechat":
            if kind == "refund":
                assert refund is not None
                url = refund.notify_url
            content = wechat_notices.content(order, refund)
        else:
            content = alipay_notices.content(order, kind, refund)
        if not url:
            return
        now = self._clock.now_us()
        self._store.insert(
            "notices",
            notice_id=_wechat_id() if order.channel == "wechat" else _alipay_id(now),
            channel=order.channel,
            collector_id=order.collector_id,
            order_id=order.order_id,
            kind=kind,
            url=url,
            content=json.dumps(content, ensure_ascii=False),
            mode=self.behaviour.mode,
            copies=self.behaviour.times if self.behaviour.mode == "duplicate" else 1,
            created_at_us=now,
            next_at_us=self._first_attempt(now),
        )

    def _first_attempt(self, now: int) -> int:
        at = now + round(self.behaviour.wait_s * SECOND_US)
        if self.behaviour.mode == "reordered":
            # It joins those that wait already, so that they go out together.
            gathered = self._store.value("SELECT min(next_at_us) FROM notices WHERE mode = 'reordered' AND attempts = 0 AND next_at_us > ?", now)
            at = at if gathered is None else int(gathered)
        return at


def _wechat_id() -> str:
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _alipay_id(now_us: int) -> str:
    return f"{now_us}{secrets.token_hex(9)}"
