"""The README's tour, as it stands there: every block of shell, in order, against the `buffmoney up` that its first one starts."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product import COMMAND, ROOT, SCRATCH, Product

TOUR = ("Install and look around", "Limits, so that nobody has to find them out")
"""from where to where the README is walked through"""
CURL = """#!/bin/bash
# curl as it is, but an answer that is no success is noted, and ends what asked for it.
out=$(mktemp)
code=$({curl} -o "$out" -w '%{{http_code}} %{{content_type}}' "$@") || code="no answer: $code"
cat "$out"
[[ $code == 2* && $code != *problem+json* ]] && exit
echo "curl $*: $code $(cat "$out")" >> "$FAILURES"
exit 22
"""


def blocks() -> list[str]:
    """The blocks of shell of the tour."""
    text = (ROOT / "README.md").read_text()
    tour = text[text.index(f"## {TOUR[0]}") : text.index(TOUR[1])]
    return re.findall(r"^```sh\n(.*?)^```$", tour, re.DOTALL | re.MULTILINE)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty directory with the file that the tour imports, and a curl that tells of failures."""
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("the tour needs curl")
    place = SCRATCH / f"readme-{secrets.token_hex(4)}"
    (place / "bin").mkdir(parents=True)
    shim = place / "bin" / "curl"
    shim.write_text(CURL.format(curl=shutil.which("curl")))
    shim.chmod(0o755)
    shutil.copy(ROOT / "tests" / "data" / "trace.csv", place)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
def test_the_tour_works_as_it_stands(home: Path) -> None:
    """Proves: no command of it fails, no request of it is refused, its ledger is whole; only the port is another one."""
    first, *others = blocks()
    assert first.split("#")[0].strip() == "buffmoney up"
    product = Product(home / "data")
    failures = home / "failures"
    product.environment |= {
        "PATH": os.pathsep.join([str(home / "bin"), str(Path(COMMAND).parent), os.environ["PATH"]]),
        "BUFFMONEY_PORT": str(product.port),
        "FAILURES": str(failures),
    }
    with product.log.open("wb") as log:
        product.process = subprocess.Popen(
            ["bash", "-c", f"exec {first}"], cwd=home, env=product.environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        product.wait_ready(120)
        script = "set -euo pipefail\nshopt -s inherit_errexit\nset -x\n" + "\n".join(others).replace(":8000", f":{product.port}")
        done = subprocess.run(
            ["bash", "-c", script], cwd=home, env=product.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert not failures.exists(), failures.read_text()
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        # And what is refused would have been seen, though the function `api` hides it from the shell.
        refused = others[0][others[0].index("api() {") :].splitlines()[0] + '\napi "$BUFFMONEY_URL/v1/customers/acme/balance"'
        subprocess.run(
            ["bash", "-c", refused],
            cwd=home,
            env={**product.environment, "BUFFMONEY_URL": product.url, "BUFFMONEY_API_KEY": "bm_test_0"},
            check=False,
            stdout=subprocess.DEVNULL,
        )
        assert "invalid_api_key" in failures.read_text()
        assert len(others) >= 4 and "explain" in script and "usage import" in script and "/v1/top-ups" in script
    finally:
        product.stop()
