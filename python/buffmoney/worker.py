"""The worker process: jobs over all tenants. Any number of workers may run; each job sees to it that nothing is done twice."""

from __future__ import annotations

import asyncio
import signal

from buffmoney.base import telemetry
from buffmoney.base.clock import SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.priority import LOWEST
from buffmoney.collection import polling
from buffmoney.metering import rollups
from buffmoney.metering.inbox import Inbox
from buffmoney.metering.watch import PartitionWatch
from buffmoney.wallets import outbox

STATEMENT_TIMEOUT_S = 300.0


async def run(settings: Settings, *, metrics_port: int = 0) -> None:
    """Works until SIGTERM or SIGINT, then finishes the job in hand. metrics_port: where Prometheus finds `/metrics`; 0 for nowhere."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await telemetry.serve_metrics(metrics_port) if metrics_port else None
    background = await Database.open(settings, "worker", size=2, statement_timeout_s=STATEMENT_TIMEOUT_S, niceness=LOWEST)
    # Somebody waits for what is delivered, and the locks it takes are those of whoever has just paid: at the lowest priority it would
    # wait for a roll-up, and others for it. It is little work, so it may go before.
    deliveries = await Database.open(settings, "worker", size=4, name="buffmoney worker deliveries")
    payments = await Database.open(settings, "worker", size=6, name="buffmoney payments")
    watch = PartitionWatch(settings.redis_url)
    inbox = Inbox(settings, watch)
    http = polling.channel_client()
    desk = polling.WorkerDesk(settings, SystemClock(), payments, inbox, http)
    await watch.start()
    await inbox.start()
    try:
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(rollups.keep_up(background, stopping), name="roll-ups")
            jobs.create_task(polling.keep_asking(desk, stopping), name="payments")
            jobs.create_task(outbox.keep_delivering(inbox, deliveries, SystemClock(), stopping), name="outbox")
    finally:
        await inbox.stop(drain_s=1.0)
        await watch.stop()
        await http.aclose()
        await payments.close()
        await deliveries.close()
        await background.close()
        if server is not None:
            server.close()
