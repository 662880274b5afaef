"""A sealing key that is replaced: everything is sealed anew under the new one, and then the old one can be dropped."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from buffmoney.audit import log
from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.collection import accounts
from buffmoney.collection.channels.credentials import unseal
from tests.integration.partition import Room, room, servers
from tests.integration.test_channel_accounts import wechat
from tests.product import SCRATCH

OLD, NEW = ("old", bytes(range(32))), ("new", bytes(range(32, 64)))


@pytest.fixture
def settings() -> Iterator[Settings]:
    """PostgreSQL and Valkey of this test's own: all accounts there are sealed anew."""
    home = SCRATCH / f"reseal-{secrets.token_hex(4)}"
    home.mkdir(parents=True)
    try:
        with servers(home) as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Room]:
    """A database with one tenant."""
    async with room(settings) as place:
        yield place


async def test_everything_is_sealed_anew(there: Room) -> None:
    """Proves: the newest credentials of each account are sealed anew and told in the audit log, once; an overlap under the old key goes on
    as long as it did, and says until when that key is needed; without the old key nothing changes."""
    clock, tenant_id = SystemClock(), there.tenant_id
    by = log.Author.system(there.settings, clock, "test")
    old, both, new = (there.settings.replace(credential_keys=keys) for keys in ((OLD,), (NEW, OLD), (NEW,)))
    account = await accounts.add(
        there.owner, old, clock, tenant_id, "live", accounts.read_credentials(json.dumps(wechat()).encode()), by=by
    )
    second = accounts.read_credentials(json.dumps(wechat()).encode())
    await accounts.rotate(there.owner, old, clock, account, second, 3_600, by=by)
    rows = "SELECT version, key_id, sealed, retires_at FROM channel_credentials WHERE channel_account_id = $1 ORDER BY version"
    before = await there.owner.fetch(rows, account)

    with pytest.raises(Problem, match="no key 'old'"):
        await accounts.reseal(there.owner, new, clock, by=by)
    assert await there.owner.fetch(rows, account) == before

    done = await accounts.reseal(there.owner, both, clock, by=by)
    assert done.resealed == 1
    assert done.older_keys_until is not None
    after = await there.owner.fetch(rows, account)
    assert [(row["version"], row["key_id"]) for row in after] == [(1, "old"), (2, "old"), (3, "new")]
    assert after[0] == before[0]
    assert after[1]["retires_at"] is not None
    assert unseal(new, tenant_id, "new", after[2]["sealed"]) == second
    assert (await accounts.reseal(there.owner, both, clock, by=by)).resealed == 0
    told = await there.owner.fetch("SELECT action FROM audit_log WHERE tenant_id = $1 AND object_id = $2 ORDER BY seq", tenant_id, account)
    assert [row["action"] for row in told] == [f"channel_account.{action}" for action in ("create", "rotate", "reseal")]
