"""PostgreSQL and Valkey for the tests that start cores themselves, and a fresh database for each."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from buffmoney.base.config import Settings
from tests.integration.partition import Room, room, servers
from tests.product import SCRATCH


@pytest.fixture(scope="module")
def backends() -> Iterator[Settings]:
    """Servers for one module's tests."""
    home = SCRATCH / f"servers-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    try:
        with servers(home) as settings:
            yield settings
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def place(backends: Settings) -> AsyncIterator[Room]:
    """A tenant in a database of its own."""
    async with room(backends) as there:
        yield there
