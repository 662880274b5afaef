"""A cursor fits one list of one tenant."""

from __future__ import annotations

import pytest

from buffmoney.base import cursors
from buffmoney.base.errors import Problem

SECRET = "s" * 32


def test_a_cursor_comes_back_as_it_was() -> None:
    """Proves: what was sealed is what is unsealed."""
    cursor = cursors.seal(SECRET, 7, "customers", [12, "a"])
    assert cursors.unseal(SECRET, 7, "customers", cursor) == [12, "a"]


@pytest.mark.parametrize(("secret", "tenant_id", "scope"), [("t" * 32, 7, "customers"), (SECRET, 8, "customers"), (SECRET, 7, "grants")])
def test_a_foreign_cursor_is_refused(secret: str, tenant_id: int, scope: str) -> None:
    """Proves: another secret, another tenant or another list gets 400."""
    cursor = cursors.seal(SECRET, 7, "customers", [12])
    with pytest.raises(Problem, match="invalid_cursor") as refused:
        cursors.unseal(secret, tenant_id, scope, cursor)
    assert refused.value.status == 400


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é" * 8, "=" * 4, "a b", "\0", "A" * 5000])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    """Proves: nothing that was not sealed is taken."""
    with pytest.raises(Problem, match="invalid_cursor"):
        cursors.unseal(SECRET, 7, "customers", cursor)


def test_every_altered_character_is_noticed() -> None:
    """Proves: no single character of a cursor can be changed, left out or doubled."""
    cursor = cursors.seal(SECRET, 7, "customers", [123456, "row"])
    for at in range(len(cursor) - 1):
        for other in (cursor[:at] + cursor[at + 1 :], cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]):
            with pytest.raises(Problem, match="invalid_cursor"):
                cursors.unseal(SECRET, 7, "customers", other)
