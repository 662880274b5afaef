"""Messages in the core's hands: taken from the inbox and not yet known to be committed. They leave only when they are.

Or when another core takes over (they go back to the inbox), or when a message alone cannot be applied at all (it is dropped, loudly).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from buffmoney.base import telemetry
from buffmoney.metering import message, metrics
from buffmoney.metering.message import Incoming
from buffmoney.metering.publish import Reply, ReplyCache

log = telemetry.logger(__name__)


class Hand:
    """A queue of messages bounded in bytes, and the ids of all that are in it or on their way to the database."""

    def __init__(self, partition_id: int, group_bytes: int, replies: ReplyCache) -> None:
        self._label = str(partition_id)
        self._group_bytes = group_bytes
        self._replies = replies
        self._waiting: deque[Incoming] = deque()
        self._bytes = 0
        self._ids: set[bytes] = set()
        self._one_by_one = 0
        self._again = 0
        self.room = asyncio.Event()
        """set when the hand may have become less full"""

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next group is complete."""
        return self._bytes >= self._group_bytes

    def accept(self, raw: bytes) -> Reply | None:
        """Takes a message from the inbox. Gives a reply instead if it was delivered and answered before."""
        try:
            incoming = message.read(raw)
        except message.MalformedMessageError as malformed:
            metrics.MESSAGES_DROPPED.labels(self._label, "malformed").inc()
            log.error("message_dropped", partition=self._label, reason="malformed", detail=str(malformed))
            return None
        if incoming.message_id in self._ids:
            # Its reply is on its way.
            metrics.REDELIVERIES.labels(self._label, "in_hand").inc()
            return None
        if incoming.redelivered:
            reply = self._replies.get(incoming.message_id)
            if reply is not None:
                metrics.REDELIVERIES.labels(self._label, "reply").inc()
                return incoming.reply_to, reply
        self._ids.add(incoming.message_id)
        self._waiting.append(incoming)
        self._bytes += len(raw)
        return None

    def next_batch(self) -> list[Incoming]:
        """The messages of the next group, oldest first; at least one."""
        batch = [self._waiting.popleft()]
        size = len(batch[0].raw)
        if self._one_by_one > 0:
            self._one_by_one -= 1
        else:
            most = self._again or len(self._waiting) + 1
            while self._waiting and len(batch) < most and size + len(self._waiting[0].raw) <= self._group_bytes:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].raw)
        self._again = max(0, self._again - len(batch))
        self._bytes -= size
        self.room.set()
        metrics.IN_HAND.labels(self._label).set(len(self._ids))
        return batch

    def take_back(self, messages: Sequence[Incoming], *, again: bool = False) -> None:
        """Puts messages that were not committed in front, in their order.

        again: what was wrong with them has been mended, so they come without newcomers, which could bring the same trouble with them.
        """
        self._waiting.extendleft(reversed(messages))
        self._again = len(messages) if again else 0
        self._bytes += sum(len(one.raw) for one in messages)

    def forget(self, messages: Sequence[Incoming]) -> None:
        """These are committed, or out of our hands."""
        self._ids.difference_update(one.message_id for one in messages)

    def refuse(self, batch: list[Incoming], detail: str) -> None:
        """Something in these messages cannot be applied. Alone, a message is dropped; otherwise each gets its own group to show itself."""
        if len(batch) == 1:
            metrics.MESSAGES_DROPPED.labels(self._label, "refused").inc()
            identity, tenant = batch[0].message_id.hex(), batch[0].tenant_id
            log.error("message_dropped", partition=self._label, reason="refused", detail=detail, message=identity, tenant=tenant)
            self.forget(batch)
            return
        log.error("group_refused", partition=self._label, detail=detail, messages=len(batch))
        self._one_by_one = len(batch)
        self.take_back(batch)

    def to_give_back(self) -> list[bytes]:
        """What waits, marked as delivered before, for another core."""
        return [one.marked_redelivered() for one in self._waiting]

    def clear(self) -> None:
        """Everything that waits is in another core's hands."""
        self.forget(self._waiting)
        self._waiting.clear()
        self._bytes = 0
