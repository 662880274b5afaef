"""Fixtures: one real product for the whole session, a fresh merchant for every test that asks for one, and payment simulators."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.product import SCRATCH, Merchant, Product
from tests.simulation import Listener, Simulation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser come last: Playwright's event loop runs until the session ends, and no other can run in its thread."""
    items.sort(key=lambda item: "browser" in item.path.parts)


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """`buffmoney up` with its own PostgreSQL and Valkey, stopped and removed at the end."""
    home = SCRATCH / f"session-{secrets.token_hex(4)}"
    # A server far from UTC and from Shanghai: no answer may depend on where it stands.
    running = Product(home / "data", {"TZ": "Pacific/Auckland"})
    try:
        yield running.start()
        # Whatever the session's tests provoked, no operation answered with a code that the API's document does not name for it.
        untold = {line for line in running.logs().splitlines() if "undocumented_code" in line}
        assert not untold, "\n".join(untold)
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def new_merchant(product: Product) -> Iterator[Callable[..., Merchant]]:
    """Makes merchants; their connections are closed after the test."""
    made: list[Merchant] = []

    def make(**settings: object) -> Merchant:
        made.append(product.new_merchant(**settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for merchant in made:
        merchant.close()


@pytest.fixture
def merchant(new_merchant: Callable[..., Merchant]) -> Merchant:
    """A prepaid merchant with a rate card and a customer `acme` that has ¥100."""
    fresh = new_merchant()
    fresh.grant("100")
    return fresh


@pytest.fixture(scope="module")
def running_simulation() -> Iterator[Simulation]:
    """One simulator for a module's tests."""
    home = SCRATCH / f"simulator-{secrets.token_hex(4)}"
    running = Simulation(home / "data")
    try:
        yield running.start()
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def simulation(running_simulation: Simulation) -> Simulation:
    """The simulator with every lever where it was, refunds without delay, and a clock that may have been advanced."""
    running_simulation.as_new()
    return running_simulation


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A merchant's endpoint on this machine."""
    made = Listener()
    yield made
    made.close()
