"""Proves that `buffmoney up` keeps everything running, lets nothing outlive it, refuses a second one, and that data survive it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from buffmoney.base.priority import BULK, LOWEST
from tests.product import SCRATCH, Merchant, Product, wait_until


@pytest.fixture
def own() -> Iterator[Product]:
    """A product of this test alone."""
    home = SCRATCH / f"up-{secrets.token_hex(4)}"
    product = Product(home / "data")
    try:
        yield product.start()
    finally:
        product.stop()
        shutil.rmtree(home, ignore_errors=True)


def gone(processes: list[psutil.Process], within_s: float) -> bool:
    """Whether all processes have ended, or do so in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes):
            return True
        time.sleep(0.05)
    return False


def test_children_come_back_and_nothing_is_lost(own: Product) -> None:
    merchant = own.new_merchant()
    merchant.grant("100")
    assert merchant.usage(usage_of("first"))["accepted"] == 1
    for role in ("edge", "core", "worker", "valkey", "postgres"):
        (pid,) = own.pids(role)
        psutil.Process(pid).send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 15
        while own.pids(role) in ([], [pid]):
            assert time.monotonic() < deadline, f"{role} did not come back"
            time.sleep(0.05)
        own.wait_ready(30)
        # What a client does on 503: the same batch again, until it is answered.
        while (answer := merchant.send(usage_of("first"), usage_of(role))).status_code == 503:
            assert time.monotonic() < deadline, f"{role}: {answer.text}"
            time.sleep(float(answer.headers["retry-after"]))
        assert answer.status_code == 200, answer.text
        # An answer lost to the crash may turn "accepted" into "duplicate", never into both.
        assert answer.json()["accepted"] + answer.json()["duplicates"] == 2
    assert merchant.usage(usage_of("first"))["duplicates"] == 1
    assert merchant.balance()["available"] == "94"
    assert own.verify()["exit"] == 0
    merchant.close()


def test_a_backend_that_hangs_keeps_no_successor_out(own: Product) -> None:
    """Killed with its locks, one backend leaves another waiting for good in the shared memory; a stopped one stands for that here."""
    merchant = own.new_merchant()
    merchant.grant("5")
    (postmaster,) = own.pids("postgres")
    hanging = next(one for one in psutil.Process(postmaster).children() if "buffmoney_core" in " ".join(one.cmdline()))
    hanging.suspend()
    psutil.Process(postmaster).kill()
    assert gone([hanging], 15)
    own.wait_ready(30)
    assert merchant.balance()["available"] == "5"
    assert own.verify()["exit"] == 0
    merchant.close()


def usage_of(key: str) -> dict[str, object]:
    """The same event for the same key, whenever it is sent."""
    moment = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 86_400))
    return {
        "customerExternalId": "acme",
        "idempotencyKey": key,
        "metric": "tokens_input",
        "quantity": "1000",
        "occurredAt": moment,
        "dimensions": {"model": "gpt-4o"},
    }


def test_one_at_a_time_closed_to_others_and_stopped_in_order(own: Product) -> None:
    assert own.process is not None
    second = own.cli("up", "--port", "0", "--data-dir", str(own.data_dir), check=False)
    assert second.returncode == 1
    assert str(own.process.pid) in second.stderr
    assert "already runs" in second.stderr
    same_port = own.cli("up", "--port", str(own.port), "--data-dir", str(own.data_dir) + "-other", check=False)
    assert same_port.returncode == 1
    assert "--port" in same_port.stderr
    for name in ("run.json", "secret"):
        assert stat.S_IMODE((own.data_dir / name).stat().st_mode) == 0o600
    run = json.loads((own.data_dir / "run.json").read_bytes())
    assert (run["url"], run["pid"]) == (own.url, own.process.pid)
    for url in run["metrics"].values():
        assert "buffmoney_" in httpx.get(url, trust_env=False).text

    merchant = own.new_merchant()
    merchant.grant("7")
    family = own.family()
    assert own.stop() == 0
    assert gone(family, 1)
    assert not (own.data_dir / "run.json").exists()
    own.start()
    assert merchant.balance()["available"] == "7"
    merchant.close()


def test_a_killed_supervisor_leaves_nobody_behind(own: Product) -> None:
    merchant = own.new_merchant()
    merchant.grant("5")
    family = own.family()
    assert own.process is not None
    own.process.kill()
    own.process.wait(10)
    assert gone(family, 10)
    own.start()
    assert merchant.balance()["available"] == "5"
    assert own.verify()["exit"] == 0
    merchant.close()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="priorities of this kind are Linux's")
def test_jobs_in_the_database_step_back_behind_commits(merchant: Merchant) -> None:
    """Proves: a job gets only the time that nobody else wants, but for credit that is delivered; and bulk writing goes after what is
    answered from."""
    sql = merchant.product.sql
    # Nobody waits for the worker before saying that everything is ready.
    wait_until(
        lambda: sql.value("SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE application_name ~ '^buffmoney worker'") == 2
    )
    found: dict[str, set[tuple[int, int | None]]] = {}
    for row in sql.fetch("SELECT application_name, pid FROM pg_stat_activity WHERE application_name ~ '^buffmoney '"):
        group = Path(f"/proc/{row['pid']}/autogroup")
        session = int(group.read_text().split()[-1]) if group.exists() else None
        found.setdefault(row["application_name"], set()).add((os.sched_getscheduler(row["pid"]), session))
    shared_by_session = any(session is not None for kind in found.values() for _, session in kind)
    assert found["buffmoney worker"] == {(os.SCHED_IDLE, LOWEST if shared_by_session else None)}
    for writer in ("a", "b"):
        assert found[f"buffmoney core 0 writer {writer}"] == {(os.SCHED_OTHER, BULK if shared_by_session else None)}
    for first in ("buffmoney core 0 lease", "buffmoney edge", "buffmoney worker deliveries"):
        assert found[first] == {(os.SCHED_OTHER, 0 if shared_by_session else None)}
