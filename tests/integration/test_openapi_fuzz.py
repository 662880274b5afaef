"""Requests made up from the OpenAPI document: whatever they contain, no answer is a server error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.product import Merchant

CHECKS = "not_a_server_error,content_type_conformance,status_code_conformance,response_schema_conformance"


@pytest.mark.slow
@pytest.mark.timeout(240)
# The routes that can end the very key in use come apart, or they would turn every later answer into 401.
@pytest.mark.parametrize("selection", ["--exclude-path-regex", "--include-path-regex"])
def test_no_request_gets_a_server_error(merchant: Merchant, tmp_path: Path, selection: str) -> None:
    """Proves: schemathesis, with a fixed seed, finds no 5xx, no undocumented status and no answer that differs from its schema."""
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{merchant.product.url}/api/openapi"),
            *("--header", f"Authorization: Bearer {merchant.sandbox_key}"),
            *(selection, "/(revoke|rotate)$"),
            *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "20260331"),
            *("--no-shrink", "--continue-on-failure", "--max-time", "60", "--request-timeout", "20", "--warnings", "off"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert "operations" in done.stdout.lower(), done.stdout[-2000:]
