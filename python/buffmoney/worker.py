"""The worker process: jobs over all tenants. Any number of workers may run; each job sees to it that one at a time does the work."""

from __future__ import annotations

import asyncio
import signal

from buffmoney.base import telemetry
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.priority import LOWEST
from buffmoney.metering import rollups

STATEMENT_TIMEOUT_S = 300.0


async def run(settings: Settings, *, metrics_port: int = 0) -> None:
    """Works until SIGTERM or SIGINT, then finishes the job in hand. metrics_port: where Prometheus finds `/metrics`; 0 for nowhere."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await telemetry.serve_metrics(metrics_port) if metrics_port else None
    database = await Database.open(settings, "worker", size=2, statement_timeout_s=STATEMENT_TIMEOUT_S, niceness=LOWEST)
    try:
        await rollups.keep_up(database, stopping)
    finally:
        await database.close()
        if server is not None:
            server.close()
