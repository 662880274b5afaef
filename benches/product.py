"""A freshly started `buffmoney up` with a data directory of its own, one merchant, a rate card, and load against it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from benches.batches import RATE_CARD

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".cache" / "benches"
"""inside the tree, so that it lies on a disk and not in memory; ignored by git"""
READY_WITHIN_S = 120


class Product:
    """`buffmoney up` as a child process; a context manager that leaves nothing running."""

    def __init__(self, billing: str = "prepaid", environment: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self.data_dir = SCRATCH / f"up-{secrets.token_hex(4)}"
        self.billing = billing
        self.api_key = ""
        self.database_url = ""
        self._port = port
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "REDIS_URL", "BUFFMONEY_"))}
        self.environment = {**inherited, "BUFFMONEY_DATA_DIR": str(self.data_dir), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What `up` and its children print."""
        return self.data_dir.with_suffix(".log")

    def command(self, *arguments: str) -> Any:
        """Runs a `buffmoney` command and returns its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "buffmoney", *arguments, "--json"], env=self.environment, capture_output=True, check=False, timeout=600
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"buffmoney {' '.join(arguments)}: exit {done.returncode}: {done.stderr.decode()[-2000:]}{done.stdout.decode()[-2000:]}"
            )
        return json.loads(done.stdout)

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "buffmoney", "up", "--port", str(self._port), "--data-dir", str(self.data_dir)],
                env=self.environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_until_ready()
            self.database_url = json.loads((self.data_dir / "run.json").read_bytes())["databaseUrl"]
            self.api_key = self.merchant(RATE_CARD, self.billing)
        except BaseException:
            self.stop()
            raise
        return self

    def merchant(self, card: dict[str, object], billing: str) -> str:
        """A merchant with this card; its live key."""
        key: str = self.command("merchants", "create", "--name", "Bench", "--billing", billing)["liveKey"]
        answer = httpx.post(f"{self.url}/v1/rate-cards", json=card, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        if answer.status_code not in (200, 201):
            raise RuntimeError(f"the rate card was refused: {answer.status_code} {answer.text}")
        return key

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if kind is None:
            self.log.unlink(missing_ok=True)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"`buffmoney up` ended: {self.log.read_text()[-3000:]}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"`buffmoney up` was not ready after {READY_WITHIN_S} s: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Drains and stops everything, and removes the data."""
        if self._process is None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in family:
            if child.is_running():
                child.kill()
        self._process = None
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def restart_postgres(self) -> None:
        """Ends PostgreSQL, upon which `up` starts it again, and waits until everything is ready."""
        server = psutil.Process(int((self.data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0]))
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        self._wait_until_ready()

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each kind of process in MiB: the largest of its kind, with what its children hold."""
        assert self._process is not None
        found: dict[str, float] = {}
        for child in psutil.Process(self._process.pid).children():
            words = child.cmdline()
            for kind in ("edge", "core", "worker"):
                if kind in words:
                    resident = sum(process.memory_info().rss for process in (child, *child.children(recursive=True))) / 2**20
                    found[kind] = round(max(found.get(kind, 0), resident), 1)
        return found

    async def load(self, work: str, seconds: float = 0.0, **plan: Any) -> dict[str, Any]:
        """Runs a load generator process with this plan and returns its report. Raises RuntimeError if any answer was wrong."""
        full = {"url": self.url, "api_key": self.api_key, "work": work, "seconds": seconds, "seed": secrets.randbits(23), **plan}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benches.load",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(json.dumps(full).encode())
        if process.returncode != 0:
            raise RuntimeError(f"the load generator failed: {err.decode()[-3000:]}")
        report: dict[str, Any] = json.loads(out)
        if report["wrong"]:
            raise RuntimeError(f"{work}: {report['wrong']} of {report['requests']} answers were wrong, the first: {report['first_wrong']}")
        return report

    async def grant_all(self, customers: int, prefix: str = "customer", **plan: Any) -> None:
        """Gives every customer plenty."""
        await self.load("grant", requests=customers, customers=customers, prefix=prefix, connections=48, **plan)
