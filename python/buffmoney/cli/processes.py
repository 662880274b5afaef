"""Commands that run BuffMoney: everything at once, or its processes one by one for a cluster."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, Parameter

from buffmoney.cli.context import DataDir, Json, say, say_json, settings_of

T = TypeVar("T")

MetricsPort = Annotated[int, Parameter(name="--metrics-port", help="Port of 127.0.0.1 for Prometheus' /metrics; 0 for none.")]


def register(app: App) -> None:
    """Adds the commands."""
    for command in (up, edge, core, worker, simulator):
        app.command(command)
    app.command(migrate_command, name="migrate")


def up(
    *,
    port: Annotated[int | None, Parameter(help="Port of the API (8000).")] = None,
    host: Annotated[str | None, Parameter(help="Address to listen on (127.0.0.1).")] = None,
    data_dir: DataDir = None,
    edges: Annotated[int, Parameter(help="Number of edge processes.")] = 1,
    partitions: Annotated[int, Parameter(help="Number of partitions, each with a core of its own, to be made at least.")] = 1,
) -> None:
    """Start everything on this machine: PostgreSQL, Valkey, core, worker, edges and the payment simulator. Ctrl-C drains and stops it.

    With DATABASE_URL, REDIS_URL or BUFFMONEY_SIMULATOR_URL set, those servers are used in place of the own ones.

    Example: `buffmoney up --port 8000 --data-dir ./data`
    """
    from buffmoney.base.telemetry import configure_logging
    from buffmoney.supervisor import Supervisor

    configure_logging("up", level="WARNING")
    settings = settings_of(data_dir)
    # Only the environment decides about foreign servers here: what an earlier `up` left behind is not one.
    settings = settings.replace(
        database_url=os.environ.get("DATABASE_URL", ""),
        redis_url=os.environ.get("REDIS_URL", ""),
        simulator_url=settings.simulator_url if os.environ.get("BUFFMONEY_SIMULATOR_URL") else "",
        host=host or os.environ.get("BUFFMONEY_HOST") or "127.0.0.1",
        port=port if port is not None else int(os.environ.get("BUFFMONEY_PORT") or 8000),
    )
    asyncio.run(Supervisor(settings, edges=edges, partitions=partitions).run())


def edge(
    *,
    port: Annotated[int | None, Parameter(help="Port of the API; several edges of one machine may share it.")] = None,
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    fd: Annotated[int | None, Parameter(help="An inherited socket that listens already, in place of host and port.")] = None,
) -> int:
    """Run one edge: the HTTP API. SIGTERM drains.

    Example: `buffmoney edge --host 0.0.0.0 --port 8000`
    """
    import gc

    from buffmoney.base.telemetry import configure_logging
    from buffmoney.edge.app import create_app
    from buffmoney.serve import serve

    configure_logging("edge")
    settings = settings_of().complete()
    settings = settings.replace(host=host or settings.host, port=settings.port if port is None else port)
    # What the imports made lives as long as the process: no collection needs to look at it again.
    gc.freeze()
    return 0 if _run(serve(create_app(settings), settings, fd)) else 1


def core(
    *,
    partitions: Annotated[str, Parameter(help="Partitions to write, separated by commas.")] = "0",
    metrics_port: MetricsPort = 0,
) -> None:
    """Run one core: the single writer of its partitions. SIGTERM finishes what is in hand.

    Example: `buffmoney core --partitions 0,1`
    """
    from buffmoney.base.telemetry import configure_logging, serve_metrics
    from buffmoney.metering.core import run

    configure_logging("core")
    settings = settings_of().complete()
    numbers = [_partition(text) for text in partitions.split(",")]

    async def task() -> None:
        server = await serve_metrics(metrics_port) if metrics_port else None
        await run(settings, numbers)
        if server is not None:
            server.close()

    _run(task())


def worker(*, metrics_port: MetricsPort = 0) -> None:
    """Run one worker: roll-ups and other jobs over all tenants. SIGTERM finishes the job in hand.

    Example: `buffmoney worker`
    """
    from buffmoney.base.telemetry import configure_logging
    from buffmoney.worker import run

    configure_logging("worker")
    _run(run(settings_of().complete(), metrics_port=metrics_port))


def simulator(
    *,
    port: Annotated[int, Parameter(help="Port to listen on; 0 for any free one.")] = 8800,
    host: Annotated[
        str | None, Parameter(help="Address to listen on, 127.0.0.1 unless given: whoever reaches it can pay any order and stop any callback.")
    ] = None,
    data_dir: Annotated[
        Path | None, Parameter(name="--data-dir", help="Where the simulator keeps its orders. Else `simulator` in the data directory of `up`.")
    ] = None,
) -> int:
    """Run the stand-in for WeChat Pay and Alipay, in which sandbox orders are paid without money. SIGTERM stops it; nothing is lost.

    `buffmoney up` starts one by itself. On its page `/phone` one scans, pays, fails or waits; `/control/…` makes it misbehave.

    Example: `buffmoney simulator --port 8800 --data-dir ./simulator`
    """
    from buffmoney.base.telemetry import configure_logging
    from buffmoney.serve import serve
    from buffmoney.simulator.app import create_app, listen

    configure_logging("simulator")
    settings = settings_of()
    directory = (data_dir or settings.data_dir / "simulator").expanduser().absolute()
    # BUFFMONEY_HOST means the edges: to open this one to others takes a word of its own.
    listener = listen(host or "127.0.0.1", port)
    address = listener.getsockname()
    url = f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"
    application = create_app(directory)
    say(f"WeChat Pay and Alipay are simulated at {url}")
    say(f"  phone   {url}/phone")
    say(f"  data    {directory}")
    say("Next: start BuffMoney with it, create a top-up with a sandbox key, and pay it on the phone's page:")
    say(f"  BUFFMONEY_SIMULATOR_URL={url} buffmoney up")
    say("Ctrl-C stops it; orders and callbacks go on when it starts again.")
    sys.stdout.flush()
    return 0 if _run(serve(application, settings, listener.detach())) else 1


def migrate_command(
    *,
    partitions: Annotated[int, Parameter(help="Number of partitions to be made at least.")] = 1,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring the database of DATABASE_URL to this version's schema. Safe to repeat, and to run on several machines at once.

    Example: `DATABASE_URL=postgresql://postgres:…@db/buffmoney buffmoney migrate --partitions 4`
    """
    from buffmoney.migrate import migrate

    done = asyncio.run(migrate(settings_of(data_dir).complete(), partitions=partitions))
    if as_json:
        say_json({"version": done.version, "applied": list(done.applied), "partitions": done.partitions})
    else:
        applied = ", ".join(done.applied) or "nothing to apply"
        say(f"The schema is at version {done.version} ({applied}), with {done.partitions} partition(s).")


def _partition(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"--partitions takes whole numbers separated by commas, not {text!r}")
    return int(text)


def _run(work: Awaitable[T]) -> T:
    """Runs a process's main task on the fastest event loop there is."""
    import uvloop

    async def task() -> T:
        return await work

    return uvloop.run(task())
