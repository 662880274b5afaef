"""`python -m tests.faults [--short] [--only NAME …]`: prints one line for each fault; exit code 1 if any is not as it must be."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import time

from tests.faults.arena import SMALL_TABLES, Line
from tests.faults.scenarios import registry
from tests.product import SCRATCH, Product

OWN_PRODUCT = {"disk_full", "control"}


async def run(names: list[str], *, short: bool) -> list[Line]:
    """The named scenarios one after the other, on one product but for those that need their own."""
    known = registry()
    home = SCRATCH / f"faults-{secrets.token_hex(4)}"
    product = Product(home / "data", SMALL_TABLES, arguments=["--edges", "2"])
    lines = []
    try:
        if not OWN_PRODUCT.issuperset(names):
            await asyncio.to_thread(product.start)
        for name in names:
            started = time.monotonic()
            try:
                line = await known[name](product, short)
            except Exception as failure:
                line = Line(name, verify="not reached", note=f"{type(failure).__name__}: {failure}")
                line.result.differ(repr(failure))
            print(line, f"[{time.monotonic() - started:.0f}s]", flush=True)
            if not line.passed:
                for difference in line.result.differences:
                    print(f"    {difference}", flush=True)
            lines.append(line)
    finally:
        await asyncio.to_thread(product.stop)
        if all(line.passed for line in lines):
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"logs are kept in {home.relative_to(SCRATCH.parent.parent)}")
    return lines


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two kills in place of twenty")
    parser.add_argument("--only", nargs="+", choices=sorted(registry()), help="only these")
    options = parser.parse_args()
    lines = asyncio.run(run(options.only or list(registry()), short=options.short))
    failed = [line.name for line in lines if not line.passed]
    acked, lost = (sum(getattr(line.result, field) for line in lines if not line.expect_loss) for field in ("acked", "lost"))
    doubled, left_open = (sum(getattr(line.result, field) for line in lines if not line.expect_loss) for field in ("doubled", "left_open"))
    print(f"{'total':<22} kills={sum(line.kills for line in lines)} acked={acked} lost={lost} doubled={doubled} left_open={left_open}")
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
