"""`python -m loadtests`: all users for 30 seconds, without a browser. Exits with locust's code: 1 if any request failed."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benches.product import Product

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
USERS = "20"
SECONDS = 30


def main() -> int:
    """Runs locust against BUFFMONEY_URL, or against a `buffmoney up` started for it."""
    environment = dict(os.environ)
    with ExitStack() as running:
        if not environment.get("BUFFMONEY_URL"):
            product = running.enter_context(Product())
            environment.update(BUFFMONEY_URL=product.url, BUFFMONEY_API_KEY=product.api_key)
        command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--host", environment["BUFFMONEY_URL"], "--headless"]
        command += ["--users", USERS, "--spawn-rate", "10", "--run-time", f"{SECONDS}s", "--only-summary", *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False, timeout=SECONDS + 120).returncode


if __name__ == "__main__":
    sys.exit(main())
