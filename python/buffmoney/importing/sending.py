"""Batches of events over HTTP, a few in flight, each until it has an answer."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from urllib.parse import quote

import httpx

from buffmoney.importing.lines import Event, ImportFailure

MAX_BATCH_EVENTS = 500
IN_FLIGHT = 4
GIVE_UP_AFTER_S = 300.0
LONGEST_WAIT_S = 15.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Service:
    """The API as an import uses it. Raises ImportFailure for what no repetition can help."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(60.0, connect=5.0),
            limits=httpx.Limits(max_connections=IN_FLIGHT + 1),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def send(self, events: list[Event]) -> dict[str, Any]:
        """The answer to a batch: {"accepted", "duplicates", "rejected", "results" (what was not accepted), "chargedByCurrency"}.

        What a lost answer had accepted comes back as duplicates.
        """
        answer = await self._until_answered("POST", "/v1/usage-events", {"events": [event.wire for event in events]})
        body = _json(answer)
        if answer.status_code == 200:
            return body
        if answer.status_code == 422 and isinstance(body.get("results"), list):
            # No event of the batch was valid: each has its own reason all the same.
            return {"accepted": 0, "duplicates": 0, "rejected": len(events), "results": body["results"], "chargedByCurrency": {}}
        raise self._refusal(answer)

    async def occurred_at(self, key: str) -> str | None:
        """When the event with this key occurred, as the service knows it; None if it has none."""
        answer = await self._until_answered("GET", f"/v1/usage-events/{quote(key, safe='')}")
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise self._refusal(answer)
        return str(_json(answer)["occurredAt"])

    async def _until_answered(self, method: str, path: str, body: Any = None) -> httpx.Response:
        loop = asyncio.get_running_loop()
        give_up_at, wait_s = loop.time() + GIVE_UP_AFTER_S, 0.1
        while True:
            reason, asked_s = "", 0.0
            try:
                answer = await self._client.request(method, path, json=body)
            except httpx.TransportError as failure:
                reason = f"{type(failure).__name__} {failure}".strip()
            else:
                if answer.status_code not in _TRY_AGAIN:
                    return answer
                reason, asked_s = f"{answer.status_code} {_json(answer).get('code', '')}", _retry_after_s(answer)
            if loop.time() > give_up_at:
                raise ImportFailure(
                    f"{self._url} has not answered for {GIVE_UP_AFTER_S:.0f} s ({reason}). Run the same command to continue."
                )
            # Spread out, so that what was refused together does not come back together.
            await asyncio.sleep(min(max(asked_s, wait_s * random.uniform(0.5, 1.5)), LONGEST_WAIT_S))
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _refusal(self, answer: httpx.Response) -> ImportFailure:
        body = _json(answer)
        param = f" ({body['param']})" if body.get("param") else ""
        return ImportFailure(f"{self._url}: {body.get('detail') or answer.text[:300]}{param} [{body.get('code') or answer.status_code}]")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
