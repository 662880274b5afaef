"""Makes tests/data/trace.csv and tests/data/trace.json: a small trace of requests in the form of the public LLM traces,
with the totals and the exact charge that the oracle computes. `python -m tests.make_trace` writes them again, the same each time.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.oracle import Card, Charge, matching_charge, nano, price_of, show

DATA = Path(__file__).parent / "data"
LINES = 160
CARD = Card("trace", (Charge("tokens_input", "4", "1000000"), Charge("tokens_output", "16", "1000000")))


def main() -> None:
    """Writes both files. As in the public traces, times have seven decimals and the last line no newline."""
    chooser = random.Random(20231116)
    at = datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC)
    lines, sums, charged = ["TIMESTAMP,ContextTokens,GeneratedTokens"], [0, 0], 0
    for _ in range(LINES):
        at += timedelta(microseconds=chooser.randint(0, 9_000_000))
        tokens = (chooser.randint(3, 7437), chooser.randint(1, 1000))
        lines.append(f"{at:%Y-%m-%d %H:%M:%S.%f}{chooser.randint(0, 9)},{tokens[0]},{tokens[1]}")
        for place, metric in enumerate(("tokens_input", "tokens_output")):
            charge = matching_charge(CARD, metric, {})
            assert charge is not None
            charged += price_of(charge, nano(str(tokens[place])))
            sums[place] += tokens[place]
    DATA.mkdir(exist_ok=True)
    (DATA / "trace.csv").write_text("\n".join(lines))
    totals = {"events": 2 * LINES, "quantities": {"tokens_input": str(sums[0]), "tokens_output": str(sums[1])}, "charged": show(charged)}
    (DATA / "trace.json").write_text(json.dumps(totals, indent=2) + "\n")


if __name__ == "__main__":
    main()
