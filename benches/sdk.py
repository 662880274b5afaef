"""The TypeScript SDK against a bare `fetch` of bodies that were made before, and what its buffer adds to an event."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from pathlib import Path

from benches.hardware import ROOT
from benches.measures import Figures, Pace, Say
from benches.product import Product

BIN = Path(sys.executable).parent
CUSTOMERS = 1000


async def sdk(pace: Pace, say: Say) -> Figures:
    """In turn, in one Node process on one product. The SDK's dist/ must be there: `make sdk`."""
    with Product(billing="pay-as-you-go") as product:
        plan = {
            "rounds": pace.rounds,
            "seconds": pace.seconds / 2,
            "apiKey": product.api_key,
            "baseUrl": product.url,
            "customers": CUSTOMERS,
        }
        process = await asyncio.create_subprocess_exec(
            str(BIN / "node"), "benches/sdk.mjs", json.dumps(plan), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )  # fmt: skip
        out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"benches/sdk.mjs ended with {process.returncode}")
    found = json.loads(out)
    bare, with_sdk = (500 * statistics.median(found["rates"][way]) for way in ("bare", "sdk"))
    buffer, ready = (statistics.median(found["costs"][way]) for way in ("buffer", "ingest"))
    say(f"  one Node process: fetch of ready bodies {bare:,.0f} events/s, ingest {with_sdk:,.0f}: {with_sdk / bare:.3f}")
    say(f"  an event through the buffer {buffer:.2f} µs, in a ready batch {ready:.2f} µs")
    return {
        "sdk_fetch_ratio": round(with_sdk / bare, 3),
        "sdk_events_per_s": round(with_sdk),
        "fetch_events_per_s": round(bare),
        "sdk_buffer_us_per_event": round(buffer - ready, 2),
        "sdk_buffer_us_per_event_with_encoding": round(buffer, 2),
    }
