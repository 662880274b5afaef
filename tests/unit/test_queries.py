"""Named statements are read whole, and a file that could be misread is refused."""

from __future__ import annotations

import pytest

from buffmoney.base import queries


def test_statements_keep_their_comments_and_lose_the_semicolon() -> None:
    """Proves: a statement is everything up to the next name, with the comments that explain it."""
    text = "-- A file.\n\n-- name: one\n-- Why.\nSELECT 1;\n\n-- name: two\nSELECT 2\n"
    assert queries.parse(text) == {"one": "-- Why.\nSELECT 1", "two": "SELECT 2"}


@pytest.mark.parametrize(
    "text", ["SELECT 1;\n-- name: one\nSELECT 1", "-- name: one\nSELECT 1\n-- name: one\nSELECT 2", "-- name: one\n-- Only a comment.\n"]
)
def test_a_misleading_file_is_refused(text: str) -> None:
    """Proves: SQL without a name, a name given twice and a name without SQL are errors."""
    with pytest.raises(ValueError, match=r"SQL before|two statements|is empty"):
        queries.parse(text)


@pytest.mark.parametrize("package", ["buffmoney.audit", "buffmoney.pricing", "buffmoney.wallets", "buffmoney.merchants", "buffmoney.edge"])
def test_the_packages_files_are_readable(package: str) -> None:
    """Proves: every package's own statements can be loaded."""
    assert queries.load(package)
