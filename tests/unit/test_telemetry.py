"""Proves that no secret leaves through a log line, wherever in a value it hides, and that metrics are served."""

from __future__ import annotations

import asyncio

import httpx

from buffmoney.base.telemetry import REDACTED, redact, serve_metrics

KEY = "bm_live_ABCDEFGH0123456789abcdefghijklmnopqrstuvwxyz"


def test_secrets_are_redacted() -> None:
    event = {
        "Authorization": f"Bearer {KEY}",
        "event": f"request with {KEY} refused",
        "url": "postgresql://buffmoney_core:hunter22@/buffmoney?host=/x",
        "nested": {"headers": [("authorization", f"Bearer {KEY}")], "password": "hunter22", "n": 1, "none": None},
        "body": KEY.encode(),
        "error": ValueError(f"no such key {KEY}"),
        "header": "Bearer eyJhbGciOi",
    }
    shown = redact(None, "info", dict(event))
    text = repr(shown)
    assert KEY[16:] not in text
    assert "hunter22" not in text
    assert "eyJhbGciOi" not in text
    assert shown["Authorization"] == REDACTED
    assert "bm_live_ABCDEFGH…" in shown["event"]
    assert shown["nested"]["n"] == 1


async def test_metrics_are_served() -> None:
    server = await serve_metrics(0, ready=lambda: False)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(trust_env=False) as client:
        metrics = await client.get(f"http://127.0.0.1:{port}/metrics")
        ready = await client.get(f"http://127.0.0.1:{port}/readyz")
        other = await client.get(f"http://127.0.0.1:{port}/secret")
    server.close()
    await asyncio.sleep(0)
    assert metrics.status_code == 200
    assert "# TYPE" in metrics.text
    assert (ready.status_code, other.status_code) == (503, 404)
