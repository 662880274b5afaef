"""The edge's side of the partitions' inboxes: messages go out, replies come back, and what is lost on the way goes out again.

All messages of one turn of the event loop leave in one round trip, one LPUSH per partition. Replies arrive on a list of this
edge's own. Redis may lose both: a message without a reply is sent again under the same id, marked as redelivered, and the core
answers a repeated id with the first outcome. So sending again is always safe, and nothing here needs to survive a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from buffmoney import _core
from buffmoney.base import telemetry
from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem, RedisUnavailable
from buffmoney.base.http import MessageBuilder, Tenant
from buffmoney.base.redis import RedisPipe, RedisQueue
from buffmoney.metering.watch import PartitionWatch

FIRST_PATIENCE_S = 1.5
"""How long a message may go without a reply before it is sent again, if the inbox is empty."""
LONGEST_SILENCE_S = 4.0
"""… and if the inbox is not empty, so that the message may still be waiting in it."""
TICK_S = 0.25
REPLIES_AT_ONCE = 200
MAX_COMMANDS_IN_FLIGHT = 2_000
MAX_USAGE_DEPTH = 512
MAX_COMMAND_DEPTH = 4_000
"""Inbox lengths at which new messages are refused: what a core decides in well under the answer time-out, and some 25 MB of Redis."""

SENT = Counter("buffmoney_edge_messages", "Messages put into an inbox, by kind and whether they were sent before.", ["kind", "redelivered"])
UNANSWERED = Counter("buffmoney_edge_unanswered", "Messages whose outcome was not known in time.")
WAITING = Gauge("buffmoney_edge_messages_waiting", "Messages that wait for their reply.")

_log = telemetry.logger("inbox")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(slots=True, eq=False)
class _Letter:
    """A message on its way. Times are of the event loop's clock."""

    message_id: bytes
    partition_id: int
    kind: str
    build: MessageBuilder
    future: asyncio.Future[bytes]
    deadline: float
    sent_at: float
    attempts: int = 0


class Inbox:
    """The `CommandBus` of an edge."""

    def __init__(self, settings: Settings, watch: PartitionWatch) -> None:
        self._answer_timeout_s = settings.answer_timeout_s
        self._watch = watch
        self._watch.on_return = self._send_all_again
        self._pipe = RedisPipe(settings.redis_url)
        self._queue = RedisQueue(settings.redis_url)
        self._reply_to = b"reply:" + secrets.token_hex(12).encode()
        self._letters: dict[bytes, _Letter] = {}
        self._outbox: list[_Letter] = []
        self._outgoing = asyncio.Event()
        self._emptied = asyncio.Event()
        self._commands_in_flight = 0
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins sending and listening."""
        self._tasks = [
            asyncio.create_task(self._send(), name="inbox sender"),
            asyncio.create_task(self._listen(), name="inbox listener"),
            asyncio.create_task(self._look_after(), name="inbox redelivery"),
        ]

    async def stop(self, drain_s: float = 5.0) -> None:
        """Takes nothing new, waits for what is on its way, then ends."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self._letters:
                    self._emptied.clear()
                    await self._emptied.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._queue.close()
        await self._pipe.close()

    async def command(
        self, tenant: Tenant, command: dict[str, object], section: bytes = b"", message_id: bytes | None = None
    ) -> dict[str, Any]:
        """Sends a wallet command and gives the core's reply. Raises Problem 429 or 503, see CommandBus."""
        encoded = _encode(command)

        def build(identity: bytes, reply_to: bytes, redelivered: bool) -> bytes:
            return _core.command_message(tenant.tenant_id, identity, reply_to, redelivered, encoded, section)

        if self._commands_in_flight >= MAX_COMMANDS_IN_FLIGHT:
            raise Problem("overloaded", "Too many commands are on their way.")
        self._commands_in_flight += 1
        try:
            reply = await self._exchange(tenant.partition_id, "command", build, message_id, MAX_COMMAND_DEPTH)
        finally:
            self._commands_in_flight -= 1
        answer = _decode(reply)
        if not isinstance(answer, dict):
            raise TypeError("the reply to a command is not an object")
        return answer

    async def usage(self, tenant: Tenant, message: MessageBuilder) -> bytes:
        """Sends a usage message and gives the body of the reply. Raises Problem 429 or 503, see CommandBus."""
        return await self._exchange(tenant.partition_id, "usage", message, None, MAX_USAGE_DEPTH)

    def check_open(self) -> None:
        """Raises the Problem that any message sent now would meet; costs nothing, so it comes before reading a body."""
        if self._stopping:
            raise Problem("shutting_down", "This process is shutting down.")
        if not self._watch.redis_up:
            raise RedisUnavailable

    def check_room(self, partition_id: int, depth_limit: int = MAX_USAGE_DEPTH) -> None:
        """Raises the Problem that a message to this partition would meet now."""
        self.check_open()
        if not self._watch.core_is_up(partition_id):
            raise Problem("core_unavailable", "The core of this partition is not there.")
        if self._watch.state(partition_id).depth >= depth_limit:
            raise Problem("overloaded", "The inbox of this partition is full.")

    async def _exchange(self, partition_id: int, kind: str, build: MessageBuilder, message_id: bytes | None, depth_limit: int) -> bytes:
        self.check_room(partition_id, depth_limit)
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Two requests may name the same message at once; each still needs a reply of its own.
        identity = message_id if message_id is not None and message_id not in self._letters else os.urandom(16)
        letter = _Letter(identity, partition_id, kind, build, loop.create_future(), now + self._answer_timeout_s, now)
        self._letters[identity] = letter
        self._outbox.append(letter)
        self._outgoing.set()
        try:
            return await letter.future
        finally:
            if self._letters.get(identity) is letter:
                del self._letters[identity]
                if not self._letters:
                    self._emptied.set()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._outgoing.wait()
            # One more turn of the loop, so that everything that became ready in this one goes along.
            await asyncio.sleep(0)
            self._outgoing.clear()
            letters, self._outbox = self._outbox, []
            letters = [letter for letter in letters if not letter.future.done()]
            partitions: dict[int, list[bytes]] = {}
            for letter in letters:
                again = letter.attempts > 0
                letter.attempts += 1
                letter.sent_at = loop.time()
                partitions.setdefault(letter.partition_id, [b"LPUSH", b"{p%d}:inbox" % letter.partition_id]).append(
                    letter.build(letter.message_id, self._reply_to, again)
                )
                SENT.labels(letter.kind, "yes" if again else "no").inc()
            if not partitions:
                continue
            packed = b"".join(_core.pack_resp(arguments) for arguments in partitions.values())
            try:
                lengths = await self._pipe.send(packed, len(partitions))
            except RedisUnavailable:
                # Whether they arrived is not known. They go out again when Redis is back, if anybody still waits then.
                self._watch.redis_failed()
                continue
            for partition_id, length in zip(partitions, lengths, strict=True):
                if isinstance(length, int):
                    self._watch.state(partition_id).depth = length
                else:
                    _log.warning("push_refused", partition=partition_id, detail=str(length))

    async def _listen(self) -> None:
        while True:
            try:
                replies = await self._queue.pop(self._reply_to, side="LEFT", count=REPLIES_AT_ONCE, wait_s=1.0)
            except RedisUnavailable:
                await asyncio.sleep(0.02)
                continue
            for reply in replies:
                try:
                    message_id, _, body = _core.split_reply(reply)
                except ValueError as error:
                    _log.warning("reply_not_understood", detail=str(error), length=len(reply))
                    continue
                letter = self._letters.get(message_id)
                # A second reply to a message that was sent twice, or one that came too late, has nobody to go to.
                if letter is not None and not letter.future.done():
                    letter.future.set_result(body)

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            now = loop.time()
            WAITING.set(len(self._letters))
            for letter in list(self._letters.values()):
                if letter.future.done():
                    continue
                silence_s = now - letter.sent_at
                if now >= letter.deadline or (not self._watch.redis_up and letter.attempts <= 1 and silence_s > FIRST_PATIENCE_S):
                    self._give_up(letter)
                elif self._may_be_lost(letter, silence_s):
                    self._send_again(letter)

    def _may_be_lost(self, letter: _Letter, silence_s: float) -> bool:
        if not letter.attempts or not self._watch.redis_up:
            return False
        if self._watch.state(letter.partition_id).depth == 0:
            return silence_s >= FIRST_PATIENCE_S * letter.attempts
        # The message is probably still in the inbox, and sending it again would only add to the load.
        return silence_s >= LONGEST_SILENCE_S and self._watch.core_is_up(letter.partition_id)

    def _give_up(self, letter: _Letter) -> None:
        UNANSWERED.inc()
        letter.future.set_exception(
            Problem("outcome_unknown", "No outcome was reported in time. Repeat the request with the same keys: nothing is applied twice.")
            if letter.attempts
            else RedisUnavailable()
        )

    def _send_again(self, letter: _Letter) -> None:
        letter.sent_at = asyncio.get_running_loop().time()
        self._outbox.append(letter)
        self._outgoing.set()

    def _send_all_again(self) -> None:
        # A server that was away may have come back empty.
        for letter in self._letters.values():
            if letter.attempts and not letter.future.done():
                self._send_again(letter)
