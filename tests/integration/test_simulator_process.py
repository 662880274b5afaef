"""The simulator as a process: what it prints, whom it listens to, that a kill -9 loses nothing, and that `up` keeps one running."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.product import COMMAND, SCRATCH, Product, free_port
from tests.simulation import Listener, Simulation, wait_for


@pytest.fixture
def own() -> Iterator[Simulation]:
    """A simulator of this test alone."""
    home = SCRATCH / f"simulator-{secrets.token_hex(4)}"
    made = Simulation(home / "data")
    try:
        yield made.start()
    finally:
        made.stop()
        shutil.rmtree(home, ignore_errors=True)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, when it is expected to end by itself."""
    return subprocess.run([COMMAND, "simulator", *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=30)


def test_a_kill_loses_nothing_and_callbacks_go_on(own: Simulation, listener: Listener) -> None:
    """Proves: orders, payments, refunds, levers, the clock and keys survive kill -9, and what was not taken yet is sent later."""
    wechat, alipay = own.wechat(listener=listener), own.alipay(listener=listener)
    own.as_new()
    own.control("clock", advanceSeconds=1_000)
    own.control("refunds", outcome="WAIT", delaySeconds=0, gapSeconds=0)
    own.control("callbacks", mode="off")
    own.control("faults", path="/v3/certificates", status=503)
    paid, (waiting, code) = wechat.paid(300), wechat.create()
    wechat.refund(paid, 100, 300, "kept")
    trade = alipay.paid("4.00")
    truth = [own.control(f"orders/{number}") for number in (paid, waiting, trade)]
    keys, now = own.control("keys"), own.now()
    own.kill()
    own.start()
    assert [own.control(f"orders/{number}") for number in (paid, waiting, trade)] == truth
    assert own.control("keys") == keys
    assert 0 <= (own.now() - now).total_seconds() < 30
    assert own.control("faults")["faults"][0]["path"] == "/v3/certificates"
    assert not listener.received
    own.control("callbacks", mode="normal")
    listener.wait(2)
    own.pay(code)
    listener.wait(3)
    own.control("refunds/kept", outcome="SUCCESS")
    listener.wait(4)
    wait_for(lambda: all(one["state"] == "delivered" for one in own.control("callbacks")["callbacks"]))


def test_every_acknowledged_payment_is_there_and_announced_after_kills(own: Simulation, listener: Listener) -> None:
    """Proves: killed again and again amid payments, it forgets none that it acknowledged and owes nobody a callback in the end."""
    merchant = own.wechat(listener=listener)
    own.control("callbacks", speed=1_000)
    codes = [merchant.create() for _ in range(60)]
    acknowledged: list[str] = []
    for round_number in range(3):
        process = own.process
        assert process is not None
        for number, code in codes[round_number * 20 : round_number * 20 + 20]:
            try:
                if own.phone(code).status_code == 200:
                    acknowledged.append(number)
            except httpx.TransportError:
                break
            if len(acknowledged) == 12 * (round_number + 1):
                os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        own.start()
    assert len(acknowledged) == 36
    for number in acknowledged:
        assert merchant.query(number).json()["trade_state"] == "SUCCESS"
    wait_for(lambda: all(one["state"] == "delivered" for one in own.control("callbacks")["callbacks"]), 20)
    told = {json.loads(one.body)["id"] for one in listener.received}
    paid = [number for number, _ in codes if merchant.query(number).json()["trade_state"] == "SUCCESS"]
    assert len(told) == len(paid) >= len(acknowledged)


def test_it_says_what_to_do_next(own: Simulation) -> None:
    said = own.log.read_text()
    for text in (own.url, f"{own.url}/phone", str(own.directory), "BUFFMONEY_SIMULATOR_URL"):
        assert text in said
    shown = run("--help").stdout
    for text in ("--port", "--host", "--data-dir", "Example"):
        assert text in shown
    assert own.stop() == 0


def test_one_at_a_time(own: Simulation) -> None:
    second = run("--port", str(free_port()), "--data-dir", str(own.directory))
    assert (second.returncode, "already runs" in second.stderr) == (1, True)
    same_port = run("--port", str(own.port), "--data-dir", str(own.directory) + "-other")
    assert (same_port.returncode, "--port" in same_port.stderr) == (1, True)


def test_it_listens_to_this_machine_alone_unless_told(own: Simulation) -> None:
    """Proves: BUFFMONEY_HOST, which is meant for edges, does not open it; --host does."""
    directory = Path(str(own.directory) + "-host")
    port = free_port()
    everywhere = "0.0.0.0"  # noqa: S104 - for a moment
    for arguments, expected in (((), "127.0.0.1"), (("--host", everywhere), everywhere)):
        process = subprocess.Popen(
            [COMMAND, "simulator", "--port", str(port), "--data-dir", str(directory), *arguments],
            env={**os.environ, "BUFFMONEY_HOST": everywhere},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda process=process: _listens(process.pid) is not None)  # type: ignore[misc]
            assert _listens(process.pid) == expected
        finally:
            process.terminate()
            process.wait(20)


def _listens(pid: int) -> str | None:
    for connection in psutil.Process(pid).net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            return str(connection.laddr.ip)
    return None


def test_keys_are_closed_to_others(own: Simulation) -> None:
    assert own.directory.stat().st_mode & 0o077 == 0
    with sqlite3.connect(f"file:{own.directory / 'simulator.sqlite'}?mode=ro", uri=True) as database:
        assert database.execute("SELECT count(*) FROM platform_keys").fetchone() == (2,)


def test_up_keeps_one_running(product: Product) -> None:
    """Proves: `up` starts a simulator, tells its processes and run.json of it, and starts it again on the same port when it dies."""
    url = product.run["simulatorUrl"]
    assert url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{url}/phone", trust_env=False).status_code == 200
    assert f"{url}/phone" in product.log.read_text()
    assert (product.data_dir / "simulator" / "simulator.sqlite").exists()
    for role in ("edge", "worker"):
        for pid in product.pids(role):
            assert psutil.Process(pid).environ()["BUFFMONEY_SIMULATOR_URL"] == url
    (pid,) = _simulators(product)
    psutil.Process(pid).kill()
    wait_for(lambda: [other for other in _simulators(product) if other != pid] != [], 15)

    def back() -> bool:
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(back, 15)


def _simulators(product: Product) -> list[int]:
    found = []
    for process in product.family():
        try:
            if "simulator" in process.cmdline()[:5] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_it_delivers_hundreds_of_callbacks_a_second(own: Simulation, listener: Listener) -> None:
    """Proves: enough for the load that the edge's callbacks are measured with; the figure is printed."""
    merchant = own.wechat(listener=listener)
    own.control("callbacks", mode="off")
    for _ in range(300):
        merchant.paid()
    began = time.monotonic()
    own.control("callbacks", mode="normal")
    listener.wait(300, 30)
    rate = 300 / (time.monotonic() - began)
    print(f"{rate:.0f} callbacks/s")
    assert rate > 50
