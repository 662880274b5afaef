"""Tampering by somebody who owns the database: whatever is changed in the ledger, `buffmoney ledger verify` says so."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

import asyncpg
import psutil
import pytest

from buffmoney.base.config import Settings
from tests.integration.till import refund, till
from tests.product import CARD, SCRATCH, Product, event

TABLES = ("postings", "commits", "event_keys", "usage_events", "usage_voids", "partitions")
ONE_EVENT = "(SELECT idempotency_key FROM usage_events ORDER BY idempotency_key LIMIT 1)"
ONE_VOID = "(SELECT idempotency_key FROM usage_voids WHERE charge > 0 ORDER BY idempotency_key LIMIT 1)"
BUSY = "(SELECT account_id FROM postings GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)"
LAST_COMMIT = "(SELECT max(commit_id) FROM commits)"
LAST_ROW = f"(SELECT max(seq) FROM postings WHERE account_id = {BUSY})"

TAMPERING = {
    "an amount is changed": f"UPDATE postings SET amount = amount + 1 WHERE account_id = {BUSY} AND seq = 2",
    "a balance is changed": f"UPDATE postings SET balance_after = balance_after + 1 WHERE account_id = {BUSY} AND seq = 2",
    "an account is changed": f"UPDATE postings SET credit_account_id = 11 WHERE account_id = {BUSY} AND seq = 2",
    "a time is changed": f"UPDATE postings SET posted_at = posted_at + interval '1 us' WHERE account_id = {BUSY} AND seq = 2",
    "a hash is changed": f"UPDATE postings SET chain_hash = decode(repeat('ab', 32), 'hex') WHERE account_id = {BUSY} AND seq = 3",
    "a row is deleted": f"DELETE FROM postings WHERE account_id = {BUSY} AND seq = 2",
    "the first row is deleted": f"DELETE FROM postings WHERE account_id = {BUSY} AND seq = 1",
    "the last row is deleted": f"DELETE FROM postings WHERE account_id = {BUSY} AND seq = {LAST_ROW}",
    "a whole wallet is deleted": f"DELETE FROM postings WHERE account_id = {BUSY}",
    "two rows change places": f"""UPDATE postings SET seq = -seq WHERE account_id = {BUSY} AND seq IN (2, 3);
        UPDATE postings SET seq = CASE seq WHEN -2 THEN 3 ELSE 2 END WHERE seq < 0""",
    "a charge is changed": f"UPDATE usage_events SET charge = charge + 1 WHERE idempotency_key = {ONE_EVENT}",
    "a quantity is changed": f"UPDATE usage_events SET quantity = quantity * 2 WHERE idempotency_key = {ONE_EVENT}",
    "an event is deleted": f"DELETE FROM usage_events WHERE idempotency_key = {ONE_EVENT}",
    "an event is doubled": f"INSERT INTO usage_events SELECT * FROM usage_events WHERE idempotency_key = {ONE_EVENT}",
    "an event key is deleted": "DELETE FROM event_keys WHERE key_hash = (SELECT key_hash FROM event_keys LIMIT 1)",
    "a commit is deleted": "DELETE FROM commits WHERE commit_seq = 2",
    "a commit is changed": "UPDATE commits SET events = events + 1 WHERE commit_seq = 2",
    "a head is forged": "UPDATE partitions SET head = decode(repeat('ab', 32), 'hex')",
    "a void's reason is changed": f"UPDATE usage_voids SET reason = 'because' WHERE idempotency_key = {ONE_VOID}",
    "a void's author is changed": f"UPDATE usage_voids SET voided_by = 'key_1' WHERE idempotency_key = {ONE_VOID}",
    "a void's charge is changed": f"UPDATE usage_voids SET charge = charge + 1 WHERE idempotency_key = {ONE_VOID}",
    "a void's grants are changed": "UPDATE usage_voids SET parts = decode(repeat('00', 16), 'hex') || substr(parts, 17) WHERE charge > 0",
    "what is owed is changed": "UPDATE postings SET unbilled_after = unbilled_after + 1 WHERE unbilled_after > 0",
    "what is owed is the wallet's": "UPDATE postings SET debit_account_id = account_id WHERE debit_account_id = -account_id",
    "what was owed after a void is changed": "UPDATE usage_voids SET unbilled_after = unbilled_after + 1 WHERE unbilled_after > 0",
    "a void is deleted": f"DELETE FROM usage_voids WHERE idempotency_key = {ONE_VOID}",
    "the void of a free event is deleted": "DELETE FROM usage_voids WHERE charge = 0",
    "a void names another event": f"""UPDATE usage_voids v SET key_hash = k.key_hash FROM event_keys k
        WHERE v.idempotency_key = {ONE_VOID} AND k.key_hash NOT IN (SELECT key_hash FROM usage_voids) AND k.key_hash > v.key_hash""",
    "a void's postings are deleted": "DELETE FROM postings WHERE kind = 7",
    "a refund goes elsewhere": "UPDATE postings SET credit_account_id = 2 WHERE kind = 11",
    "a refund is of another grant": f"""UPDATE postings SET grant_id = (SELECT grant_id FROM grants WHERE account_id <> {BUSY} LIMIT 1)
        WHERE kind = 11""",
    "a refund is usage": "UPDATE postings SET kind = 2, credit_account_id = 10 WHERE kind = 11",
    "a refund is deleted": "DELETE FROM postings WHERE kind = 11",
    "a voided event is deleted": f"DELETE FROM usage_events WHERE idempotency_key = {ONE_VOID}",
    "the newest commit is taken out everywhere": f"""
        DELETE FROM postings WHERE commit_id = {LAST_COMMIT}; DELETE FROM usage_events WHERE commit_id = {LAST_COMMIT};
        DELETE FROM event_keys WHERE commit_id = {LAST_COMMIT};
        UPDATE partitions p SET commit_seq = p.commit_seq - 1, head = c.head FROM commits c WHERE c.commit_seq = p.commit_seq - 1;
        DELETE FROM commits WHERE commit_id = {LAST_COMMIT}""",
}
"""what is done → the statement, run as the superuser with all triggers off (every CHECK still holds where it says so)"""
NAMED = {
    "what is owed is changed": {"balance"},
    "what is owed is the wallet's": {"balance", "void_overpaid"},
    "a void's charge is changed": {"void", "void_event"},
    "a void's grants are changed": {"void"},
    "a void is deleted": {"void"},
    "a void names another event": {"void", "void_event"},
    "a void's postings are deleted": {"void"},
    "a voided event is deleted": {"void_event"},
    "a refund goes elsewhere": {"refund_account"},
    "a refund is of another grant": {"refund_account", "grant_overspent"},
    "a refund is usage": {"usage"},
}
"""what must be said of it besides that the commit's digest is another"""


heads: list[asyncpg.Record] = []
"""a signed head from before the last commit, as somebody would have kept it who plans to forget that commit"""


@pytest.fixture(scope="module")
def spoiled() -> Iterator[Product]:
    """A product of its own, with a few wallets that have moved, whose processes are stopped from writing on."""
    home = SCRATCH / f"verify-{secrets.token_hex(4)}"
    running = Product(home / "data")
    try:
        running.start()
        merchant = running.new_merchant()
        for customer in ("one", "two"):
            merchant.grant("50", customer)
            merchant.grant("5", customer, kind="bonus")
        for _ in range(4):
            merchant.usage(*[event(customer=name) for name in ("one", "two", "one")])
        hold = merchant.ok("POST", "/v1/customers/one/holds", {"amount": "3", "ttlSeconds": 600})
        merchant.ok("POST", f"/v1/holds/{hold['holdId']}/capture", {"amount": "1"})
        merchant.ok("POST", "/v1/rate-cards", {**CARD, "charges": [*CARD["charges"], {"metric": "images", "price": "0"}]})
        merchant.usage(event(customer="two", key="free", metric="images"), *(event(customer="two", key=f"void {n}") for n in range(3)))
        for key in ("free", "void 0", "void 1"):
            merchant.ok("POST", f"/v1/usage-events/{key}/void", {"reason": "a test"})
        merchant.ok("POST", "/v1/usage-events/void 2/amend", {"idempotencyKey": "amending", "quantity": "3"})
        asyncio.run(take_back(running, merchant.tenant_id, "one", merchant.grant("5", "one")["grantId"]))
        owing = running.new_merchant(billing="pay-as-you-go")
        owing.grant("1", "owing")
        owing.usage(*(event(customer="owing", key=f"owed {n}") for n in range(3)))
        owing.ok("POST", "/v1/usage-events/owed 1/void", {})
        owing.close()
        heads.append(running.sql.fetch("SELECT commit_seq, head, head_mac FROM partitions")[0])
        merchant.usage(event(customer="one"))
        merchant.close()
        # A roll-up of rows that are tampered with would stay behind when they are put right again.
        worker = psutil.Process(running.pids("worker")[0])
        worker.suspend()
        try:
            yield running
        finally:
            worker.resume()
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


async def take_back(product: Product, tenant_id: int, customer: str, grant_id: str) -> None:
    """Refunds ¥2 of a grant."""
    async with till(Settings.from_environment(product.environment).complete(), tenant_id) as place:
        command_id = await place.enqueue("refund", refund(customer, (bytes.fromhex(grant_id[3:]), "2")))
        assert (await place.deliver(command_id) or {})["ok"]


async def as_superuser(product: Product, *statements: str) -> None:
    """Runs statements in one transaction, past every trigger."""
    connection = await asyncpg.connect(product.run["databaseUrl"])
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()


def test_an_untouched_ledger_is_clean(spoiled: Product) -> None:
    """Proves: verify finds nothing where nothing was done, says what it looked at, and exits with 0."""
    report = spoiled.verify()
    assert (report["exit"], report["differences"]) == (0, []), report
    assert (report["events"], report["voids"]) == (21, 5)
    assert report["postings"] >= 13


def tamper(product: Product, *statements: str) -> dict[str, Any]:
    """What verify says of a ledger on which these statements were run; afterwards the ledger is as it was."""
    # A seq below zero is only a step on the way of a swap, so its CHECK is put aside.
    loosen = "ALTER TABLE postings DROP CONSTRAINT IF EXISTS postings_seq_check"
    backup = [f"CREATE TABLE backup_{table} AS SELECT * FROM {table}" for table in TABLES]
    restore = [f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM backup_{table}; DROP TABLE backup_{table}" for table in TABLES[:-1]]
    # The lease's own columns go on changing; only what tampering touched is put back.
    restore.append(
        """UPDATE partitions p SET commit_seq = b.commit_seq, head = b.head, head_mac = b.head_mac
        FROM backup_partitions b WHERE p.partition_id = b.partition_id; DROP TABLE backup_partitions"""
    )
    asyncio.run(as_superuser(product, loosen, *backup, *statements))
    try:
        return product.verify()
    finally:
        asyncio.run(as_superuser(product, *restore))


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_found(spoiled: Product, what: str) -> None:
    """Proves: each way of changing the ledger makes verify exit with 1 and name a difference; undone, it is clean again."""
    report = tamper(spoiled, TAMPERING[what])
    assert report["exit"] == 1, report
    assert report["differences"], report
    assert NAMED.get(what, set()) <= {one["what"] for one in report["differences"]}, report
    assert spoiled.verify()["exit"] == 0


def test_an_old_signed_head_does_not_help(spoiled: Product) -> None:
    """Proves: who cuts off the tail and puts back a head that was truly signed once is found by the head kept outside the database."""
    old = heads[0]
    cut = [f"DELETE FROM {table} WHERE commit_id & ((1::bigint << 48) - 1) > {old['commit_seq']}" for table in TABLES[:-1]]
    head = (
        f"UPDATE partitions SET commit_seq = {old['commit_seq']}, head = '\\x{old['head'].hex()}', head_mac = '\\x{old['head_mac'].hex()}'"
    )
    report = tamper(spoiled, *cut, head)
    assert report["exit"] == 1, report
    assert report["differences"], report
