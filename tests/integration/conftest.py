"""PostgreSQL and Valkey for the tests that start cores themselves, with a fresh database for each, and the TypeScript SDK, packed."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from buffmoney.base.config import Settings
from tests import sdk
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


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The TypeScript SDK, built and packed; what npm says about its tarball."""
    sdk.build()
    return sdk.pack(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="session")
def project(packed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project that has the SDK from the tarball."""
    return sdk.install(packed["path"], tmp_path_factory.mktemp("project"))
