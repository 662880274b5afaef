"""Brings callbacks to merchants, and repeats them by the channel's own schedule until they are taken.

The state of a callback changes only after an attempt is over. A crash during one means that it is made again, as the channels do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from dataclasses import dataclass

import httpx

from buffmoney.base import telemetry
from buffmoney.simulator.alipay import notices as alipay_notices
from buffmoney.simulator.channel_time import SECOND_US
from buffmoney.simulator.keys import Signing
from buffmoney.simulator.wechat import notices as wechat_notices
from buffmoney.simulator.world import World

ANSWER_WITHIN_S = 5.0
AT_ONCE = 32
"""more of them cost more than they bring: the client looks through all its connections at each request"""
LONGEST_SLEEP_S = 1.0
"""the clock may be moved under us, so nobody sleeps through its time"""
KEPT_ANSWER_BYTES = 1_000
_BOGUS: dict[str, Signing] = {"probe": "probe", "forged": "forged", "unsigned": "unsigned"}

_log = telemetry.logger("courier")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one request. status: None without an answer. accepted: whether it was what the channel hoped for."""

    kind: str
    key_id: str
    status: int | None
    answer: str
    took_ms: int
    accepted: bool


class Courier:
    """Delivers until it is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None
        limits = httpx.Limits(max_connections=AT_ONCE * 2, max_keepalive_connections=AT_ONCE)
        self._http = httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False, follow_redirects=False, limits=limits)

    def start(self) -> None:
        """Begins with what is due, be it from before a restart."""
        self._loop = asyncio.create_task(self._run(), name="courier")

    async def stop(self) -> None:
        """Ends; attempts under way count as not made."""
        tasks = [task for task in (self._loop, *self._under_way.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    async def _run(self) -> None:
        while True:
            self._world.wake.clear()
            try:
                self._world.keep_up()
                self._begin()
                sleep_s = self._sleep_s()
            except Exception:
                # A full disk, say: the next round may find it better, and without rounds there are no callbacks.
                _log.error("courier_round_failed", exc_info=True)
                sleep_s = LONGEST_SLEEP_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sleep_s):
                    await self._world.wake.wait()

    def _begin(self) -> None:
        if self._world.announcer.behaviour.mode == "off":
            return
        now = self._world.clock.now_us()
        room = AT_ONCE - len(self._under_way)
        if room <= 0:
            return
        due = self._world.store.all(
            "SELECT * FROM notices WHERE next_at_us <= ? ORDER BY next_at_us, seq LIMIT ?", now, room + len(self._under_way)
        )
        ready = [row for row in due if row["seq"] not in self._under_way][:room]
        reordered = [row for row in ready if row["mode"] == "reordered" and row["attempts"] == 0]
        groups = [[row] for row in ready if row["mode"] != "reordered" or row["attempts"] > 0]
        if reordered:
            groups.append(sorted(reordered, key=lambda row: -int(row["seq"])))
        for group in groups:
            task = asyncio.create_task(self._deliver(group), name="deliver")
            for row in group:
                self._under_way[row["seq"]] = task

    def _sleep_s(self) -> float:
        world = self._world
        now = world.clock.now_us()
        times = [world.orders.next_due_us(), world.refunds.next_due_us()]
        if world.announcer.behaviour.mode != "off" and len(self._under_way) < AT_ONCE:
            # Those under way count with their old time, so only what lies ahead is looked at; their end wakes this loop anyway.
            times.append(world.store.value("SELECT min(next_at_us) FROM notices WHERE next_at_us > ?", now))
        soonest = min((at for at in times if at is not None), default=now + round(LONGEST_SLEEP_S * SECOND_US))
        return min(max((soonest - now) / SECOND_US, 0.0), LONGEST_SLEEP_S)

    async def _deliver(self, group: list[sqlite3.Row]) -> None:
        for row in group:
            try:
                await self._attempt(row)
            except Exception:
                _log.error("delivery_failed", notice=row["notice_id"], exc_info=True)
                self._postpone(row)
            finally:
                self._under_way.pop(row["seq"], None)
                self._world.wake.set()

    async def _attempt(self, row: sqlite3.Row) -> None:
        bogus = _BOGUS.get(row["mode"])
        if bogus is not None and not (bogus == "probe" and row["channel"] == "alipay"):
            self._keep(row, await self._send(row, bogus))
        attempts = await asyncio.gather(*(self._send(row, "genuine") for _ in range(row["copies"])))
        world = self._world
        schedule = wechat_notices.RETRIES_S if row["channel"] == "wechat" else alipay_notices.RETRIES_S
        made = row["attempts"] + 1
        accepted = all(attempt.accepted for attempt in attempts)
        over = accepted or made > len(schedule)
        wait_us = 0 if over else round(schedule[made - 1] * SECOND_US / world.announcer.behaviour.speed)
        with world.store.transaction():
            for attempt in attempts:
                self._keep(row, attempt)
            world.store.execute(
                "UPDATE notices SET attempts = ?, next_at_us = ?, state = ? WHERE seq = ?",
                made,
                None if over else world.clock.now_us() + wait_us,
                "delivered" if accepted else "given_up" if over else "waiting",
                row["seq"],
            )

    def _postpone(self, row: sqlite3.Row) -> None:
        # Something of ours failed, not of the merchant's: not an attempt, but not to be tried in a tight loop either.
        with contextlib.suppress(sqlite3.Error):
            self._world.store.execute("UPDATE notices SET next_at_us = ? WHERE seq = ?", self._world.clock.now_us() + SECOND_US, row["seq"])

    async def _send(self, row: sqlite3.Row, signing: Signing) -> Attempt:
        world = self._world
        now = world.clock.now_us()
        key = world.keyring.for_callback(row["channel"], now, row["seq"] + row["attempts"])
        kept = json.loads(row["content"])
        if row["channel"] == "wechat":
            merchant = world.merchants.find("wechat", row["collector_id"])
            assert merchant is not None
            assert merchant.api_v3_key is not None
            headers, body = wechat_notices.request(
                row["notice_id"], kept, row["created_at_us"], merchant.api_v3_key, key, world.clock.signing_s(), signing
            )
        else:
            headers, body = alipay_notices.request(row["notice_id"], kept, key, now, signing)
        began = time.perf_counter()
        status, answer = await self._post(row["url"], headers, body)
        took_ms = round((time.perf_counter() - began) * 1_000)
        accepted = status is not None and (
            wechat_notices.taken(status) if row["channel"] == "wechat" else alipay_notices.taken(status, answer)
        )
        if signing != "genuine":
            # WeChat's probes want an error's status; of Alipay's callbacks anything but its one word refuses.
            accepted = status is not None and not accepted and (row["channel"] == "alipay" or status >= 400)
        return Attempt(signing, key.key_id, status, answer[:KEPT_ANSWER_BYTES].decode("utf-8", "replace"), took_ms, accepted)

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), self._http.stream("POST", url, content=body, headers=headers) as response:
                answer = b""
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > KEPT_ANSWER_BYTES:
                        break
                return response.status_code, answer
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as failure:
            return None, f"{type(failure).__name__}: {failure}".encode()

    def _keep(self, row: sqlite3.Row, attempt: Attempt) -> None:
        self._world.store.insert(
            "deliveries",
            seq=row["seq"],
            at_us=self._world.clock.now_us(),
            kind=attempt.kind,
            key_id=attempt.key_id,
            status=attempt.status,
            answer=attempt.answer,
            took_ms=attempt.took_ms,
            accepted=int(attempt.accepted),
        )
