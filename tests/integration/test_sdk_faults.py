"""The TypeScript SDK through a network that drops, delays, swallows and cuts: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests import sdk
from tests.bad_network import FATES, BadNetwork
from tests.product import Merchant

SEED = 20261201
EVENTS = 10_000


def test_nothing_is_lost_or_doubled(project: Path, merchant: Merchant) -> None:
    """Proves: 10,000 events, three fifths by a buffer and two fifths by `ingest`, and ten grants arrive exactly once each, though
    every third exchange or so is cut, swallowed or unanswered; events of one customer that one buffer took are recorded in its order.
    """
    program = Path(shutil.copy(sdk.SDK / "tests/outlast.js", project))
    with BadNetwork(merchant.product.port, SEED) as network:
        said = json.loads(sdk.on_node(program, BUFFMONEY_URL=f"http://127.0.0.1:{network.port}", BUFFMONEY_API_KEY=merchant.sandbox_key))
    assert said["events"] == EVENTS
    assert all(network.fates[fate] for fate in FATES), network.fates
    assert said["outlasted"], "some batches failed for good within a call, and the buffer sent them again"

    stored = merchant.stored()
    assert stored["usage_events"] == EVENTS, f"lost {EVENTS - stored['usage_events']}"
    assert stored["grants"] == 11, "ten, and the fixture's"
    usage = merchant.ok("GET", "/v1/usage?groupBy=customer")
    assert (usage["events"], usage["charged"]) == (EVENTS, str(EVENTS)), "¥1 each, so a doubled charge would show"
    assert [merchant.balance(f"c{number}")["available"] for number in range(10)] == ["99000"] * 10

    rows = merchant.product.sql.fetch(
        "SELECT array_agg(substr(idempotency_key, 8)::int ORDER BY commit_id, ctid) AS numbers FROM usage_events "
        "WHERE tenant_id = $1 AND idempotency_key LIKE 'buffer-%' GROUP BY account_id",
        merchant.tenant_id,
    )
    assert len(rows) == 10
    assert all(row["numbers"] == sorted(row["numbers"]) for row in rows)
    print(f"{said} {dict(network.fates)}")
