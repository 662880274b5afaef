"""The API's document and the product agree, and a strict linter has nothing to say about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buffmoney.edge import openapi
from tests import api_examples
from tests.api_changes import current
from tests.product import ROOT, Product

LINTER = ROOT / "tests" / "spectral"
BIN = Path(sys.executable).parent


@pytest.mark.slow
def test_every_operation_answers_as_the_document_says(product: Product) -> None:
    """Proves: each operation, asked for a success, gives an answer that fits its schema and has no field more, and the document's example
    of it is such an answer."""
    recorded = api_examples.record(product)
    assert set(recorded.kept) == set(recorded.described.operations)
    kept = openapi.examples()
    for operation, found in recorded.examples().items():
        example = kept[operation]
        differences = unlike(operation, example.answer, found["answer"]) + unlike(operation, example.body, found["body"])
        assert not differences, f"{differences}; record the examples anew: python -m tests.api_examples"


def unlike(where: str, one: Any, other: Any) -> list[str]:
    """Where two answers have other fields or other types; what is null in one of them may be anything in the other."""
    if one is None or other is None:
        return []
    if type(one) is not type(other):
        return [f"{where}: {type(one).__name__} and {type(other).__name__}"]
    if isinstance(one, dict):
        found = [f"{where}.{name} is only in one of both" for name in sorted(one.keys() ^ other.keys())]
        return found + [
            difference for name in one.keys() & other.keys() for difference in unlike(f"{where}.{name}", one[name], other[name])
        ]
    if isinstance(one, list):
        return (
            unlike(f"{where}[]", one[0], other[0]) if one and other else [f"{where} is empty in one of both"] * (bool(one) != bool(other))
        )
    return []


def lint(document: str) -> subprocess.CompletedProcess[str]:
    """What Spectral says. Its packages are those of the package-lock, installed when that is newer."""
    installed, node = LINTER / "node_modules" / ".package-lock.json", str(BIN / "node")
    if not installed.exists() or installed.stat().st_mtime < (LINTER / "package-lock.json").stat().st_mtime:
        subprocess.run([BIN / "npm", "ci", "--no-progress", "--silent"], cwd=LINTER, timeout=200, check=True)
        installed.touch()
    return subprocess.run([node, "lint.mjs"], cwd=LINTER, input=document, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_a_strict_linter_finds_nothing() -> None:
    """Proves: all of Spectral's rules for OpenAPI hold, warnings and hints among them; and that it would tell what does not."""
    document = current()
    done = lint(json.dumps(document))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    document["paths"] = {path: document["paths"][path] for path in ("/v1/customers", "/v1/cash-book")}
    document["paths"]["/v1/customers"]["get"]["parameters"][0]["example"] = "twenty"
    del document["paths"]["/v1/cash-book"]["get"]["description"]
    found = lint(json.dumps(document))
    assert found.returncode == 1
    assert "oas3-valid-media-example" in found.stdout and "operation-description" in found.stdout, found.stdout + found.stderr
