"""The README's quick start: each of its snippets, as it stands there."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests import sdk
from tests.product import ROOT, Product

FIRST_CHARGE = "0.0216"
"""1,200 tokens at ¥18 a million"""


def snippets() -> list[tuple[str, str]]:
    """Language and text of each block of the section, in order."""
    _, _, section = (ROOT / "README.md").read_text().partition("\n## Quick start\n")
    section, _, _ = section.partition("\n## ")
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None and not os.environ.get("CI"), reason="the quick start needs curl")
def test_the_quick_start(product: Product, project: Path, tmp_path: Path) -> None:
    """Proves: from a running `buffmoney up` to one event by curl, one by TypeScript and one by Python, by the snippets alone and well
    within two minutes. Only where the product listens and keeps its data differs from what a reader has, and that is in the environment.
    """
    started = time.monotonic()
    (_, starting), (_, preparing), (_, by_curl), (typescript, by_typescript), (python, by_python) = snippets()
    assert (typescript, python) == ("ts", "python")
    # The product of these tests was started by the last of these lines; the first one finds the environment that `make build` makes.
    assert starting.splitlines() == [". .venv/bin/activate", "buffmoney up"]

    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    environment = {"BUFFMONEY_URL": product.url, "BUFFMONEY_DATA_DIR": str(product.data_dir)}
    script = f'set -eu\n{preparing}\necho "$BUFFMONEY_API_KEY" >key\n{by_curl}'
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=tmp_path,
        env={**sdk.ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [done.stdout[done.stdout.rindex('{"accepted"') :]]

    environment["BUFFMONEY_API_KEY"] = (tmp_path / "key").read_text().strip()
    (project / "first.mjs").write_text(by_typescript)
    printed = sdk.on_node(project / "first.mjs", **environment)
    assert re.search(rf"accepted: 1,.*charged: '{FIRST_CHARGE}'", printed, re.DOTALL), printed
    (tmp_path / "first.py").write_text(by_python)
    answers.append(json.dumps(ast.literal_eval(sdk.run("python", "first.py", cwd=tmp_path, **environment))))
    for answer in map(json.loads, answers):
        assert (answer["accepted"], answer["charged"]) == (1, FIRST_CHARGE), answer

    stored = product.sql.fetch("SELECT idempotency_key FROM usage_events WHERE idempotency_key LIKE 'from-%' ORDER BY 1")
    assert [row["idempotency_key"] for row in stored] == ["from-curl", "from-python", "from-typescript"]
    assert time.monotonic() - started < 60
