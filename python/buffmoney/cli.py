"""The command line. Every command reads its settings, calls one function of the package that owns the matter, and prints.

Packages are imported inside their commands, so that `buffmoney --help` answers at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

from cyclopts import App, Parameter

from buffmoney import __version__

if TYPE_CHECKING:
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Connection

T = TypeVar("T")

app = App(
    name="buffmoney",
    version=__version__,
    help=(
        "Metering, prepaid balances and an append-only ledger for AI products.\n\n"
        "Start with `buffmoney up`, or see everything at work with `buffmoney demo`."
    ),
    help_format="markdown",
)
merchants = App(name="merchants", help="Merchants: the companies that bill their customers through this installation.")
keys = App(name="keys", help="API keys of a merchant's sandbox or live tenant.")
rate_cards = App(name="rate-cards", help="Rate cards: what usage costs.")
usage = App(name="usage", help="Usage events.")
ledger = App(name="ledger", help="The append-only ledger.")
for group in (merchants, keys, rate_cards, usage, ledger):
    app.command(group)

DataDir = Annotated[
    Path | None, Parameter(name="--data-dir", help="Where `up` keeps its data. Else BUFFMONEY_DATA_DIR, else a directory of this user.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]
Url = Annotated[str | None, Parameter(name="--url", help="Address of the API. Else BUFFMONEY_URL, else that of the `up` on this machine.")]
ApiKey = Annotated[str | None, Parameter(name="--api-key", help="API key. Else BUFFMONEY_API_KEY.")]
MerchantId = Annotated[str, Parameter(name="--merchant", help="The merchant's id, mer_…")]
Mode = Annotated[Literal["sandbox", "live"], Parameter(name="--mode", help="Which of the merchant's two tenants.")]
MetricsPort = Annotated[int, Parameter(name="--metrics-port", help="Port of 127.0.0.1 for Prometheus' /metrics; 0 for none.")]


def main() -> NoReturn:
    """Runs the command of this process's arguments and exits: 0, 1 for a failure, 2 for wrong arguments."""
    from buffmoney.base.errors import Problem

    try:
        code = app(result_action="return_value")
    except KeyboardInterrupt:
        sys.exit(130)
    except Problem as problem:
        fail(f"{problem.detail} [{problem.code}]")
    except (ValueError, RuntimeError, OSError) as failure:
        # Settings, servers, migrations and files say in their message what is wrong and what to do.
        if os.environ.get("BUFFMONEY_TRACEBACK") == "1":
            raise
        fail(str(failure) or type(failure).__name__)
    sys.exit(code if isinstance(code, int) else 0)


def fail(message: str) -> NoReturn:
    """Ends the process with a message for people."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)


def settings_of(data_dir: Path | None = None, **changes: object) -> Settings:
    """The settings of this process. data_dir goes before the environment. Raises SettingsError."""
    from buffmoney.base.config import Settings

    environment = dict(os.environ)
    if data_dir is not None:
        environment["BUFFMONEY_DATA_DIR"] = str(data_dir)
    return Settings.from_environment(environment).replace(**changes)


def say(text: str = "") -> None:
    """One line of output."""
    sys.stdout.write(text + "\n")


def say_json(content: Any) -> None:
    """One JSON document of output."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(content).decode() + "\n")


def address(url: str | None, api_key: str | None) -> tuple[str, str]:
    """The API's address and key, from the flags, the environment, or the `up` on this machine. Raises SettingsError."""
    from buffmoney.base.config import Settings, SettingsError, read_run_file

    found = url or os.environ.get("BUFFMONEY_URL") or str(read_run_file(Settings.from_environment().data_dir).get("url", ""))
    if not found:
        raise SettingsError("There is no address of an API: start `buffmoney up`, or give --url or BUFFMONEY_URL.")
    key = api_key or os.environ.get("BUFFMONEY_API_KEY")
    if not key:
        raise SettingsError("There is no API key: give --api-key or BUFFMONEY_API_KEY. `buffmoney merchants create` prints two.")
    return found.rstrip("/"), key


def _run(work: Awaitable[T]) -> T:
    """Runs a process's main task on the fastest event loop there is."""
    import uvloop

    async def task() -> T:
        return await work

    return uvloop.run(task())


def _as_owner(work: Callable[[Connection, Settings], Awaitable[T]], data_dir: Path | None = None) -> T:
    """Does something in one transaction of the schema's owner."""
    from buffmoney.base.database import connect

    settings = settings_of(data_dir).complete()

    async def task() -> T:
        connection = await connect(settings, None, name="buffmoney command")
        try:
            async with connection.transaction():
                return await work(connection, settings)
        finally:
            await connection.close()

    return asyncio.run(task())


# ---------------------------------------------------------------- everything at once, and the processes one by one


@app.command
def up(
    *,
    port: Annotated[int | None, Parameter(help="Port of the API (8000).")] = None,
    host: Annotated[str | None, Parameter(help="Address to listen on (127.0.0.1).")] = None,
    data_dir: DataDir = None,
    edges: Annotated[int, Parameter(help="Number of edge processes.")] = 1,
    partitions: Annotated[int, Parameter(help="Number of partitions, each with a core of its own, to be made at least.")] = 1,
) -> None:
    """Start everything on this machine: PostgreSQL, Valkey, core, worker and edges. Ctrl-C drains and stops it.

    With DATABASE_URL or REDIS_URL set, those servers are used in place of the embedded ones.

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
        host=host or os.environ.get("BUFFMONEY_HOST") or "127.0.0.1",
        port=port if port is not None else int(os.environ.get("BUFFMONEY_PORT") or 8000),
    )
    asyncio.run(Supervisor(settings, edges=edges, partitions=partitions).run())


@app.command
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


@app.command
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


@app.command
def worker(*, metrics_port: MetricsPort = 0) -> None:
    """Run one worker: roll-ups and other jobs over all tenants. SIGTERM finishes the job in hand.

    Example: `buffmoney worker`
    """
    from buffmoney.base.telemetry import configure_logging
    from buffmoney.worker import run

    configure_logging("worker")
    _run(run(settings_of().complete(), metrics_port=metrics_port))


@app.command(name="migrate")
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


# ---------------------------------------------------------------- merchants and keys


@merchants.command(name="create")
def merchants_create(
    *,
    name: Annotated[str, Parameter(help="The merchant's name.")],
    billing: Annotated[Literal["prepaid", "pay-as-you-go"], Parameter(help="Whether its customers pay before or after.")] = "prepaid",
    unknown_customers: Annotated[Literal["create", "refuse"], Parameter(help="What usage of an unknown customer does.")] = "create",
    currency: Annotated[str, Parameter(help="Currency of its customers' wallets, ISO 4217.")] = "CNY",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a merchant with a sandbox and a live tenant, and an API key for each. The keys are shown this once.

    Example: `buffmoney merchants create --name "My company" --json`
    """
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants.merchants import create

    made = _as_owner(
        lambda connection, settings: create(
            connection,
            settings.api_key_pepper,
            SystemClock(),
            name,
            billing=billing,
            unknown_customers=unknown_customers,
            currency=currency,
        ),
        data_dir,
    )
    if as_json:
        say_json(made)
        return
    say(f"merchant     {made.merchant_id}")
    say(f"sandbox key  {made.sandbox_key}")
    say(f"live key     {made.live_key}")
    say("Keep the keys: they are not stored and cannot be shown again.")


@keys.command(name="create")
def keys_create(*, merchant: MerchantId, mode: Mode = "sandbox", name: str = "", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Make another API key. It is shown this once.

    Example: `buffmoney keys create --merchant mer_… --mode live --name billing-service`
    """
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants import keys as owner
    from buffmoney.merchants.merchants import tenant_id_of

    async def work(connection: Connection, settings: Settings) -> owner.NewKey:
        tenant_id = await tenant_id_of(connection, merchant, mode)
        return await owner.create(connection, settings.api_key_pepper, SystemClock(), tenant_id, mode, name)

    _show_new_key(_as_owner(work, data_dir), as_json)


@keys.command(name="list")
def keys_list(*, merchant: MerchantId, mode: Mode = "sandbox", data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the API keys of a tenant, without their secrets.

    Example: `buffmoney keys list --merchant mer_… --mode live`
    """
    from buffmoney.base.clock import format_time
    from buffmoney.merchants import keys as owner
    from buffmoney.merchants.merchants import tenant_id_of

    async def work(connection: Connection, _settings: Settings) -> list[owner.ApiKey]:
        return await owner.list_keys(connection, await tenant_id_of(connection, merchant, mode))

    found = _as_owner(work, data_dir)
    rows = [
        {
            "keyId": key.key_id,
            "prefix": key.prefix,
            "name": key.name,
            "createdAt": format_time(key.created_at),
            "expiresAt": format_time(key.expires_at) if key.expires_at else None,
            "revokedAt": format_time(key.revoked_at) if key.revoked_at else None,
        }
        for key in found
    ]
    if as_json:
        say_json({"keys": rows})
        return
    for row in rows:
        state = f"revoked {row['revokedAt']}" if row["revokedAt"] else f"until {row['expiresAt']}" if row["expiresAt"] else "in force"
        say(f"{row['keyId']}  {row['prefix']}…  {state:<36}  {row['name']}")


@keys.command(name="revoke")
def keys_revoke(key_id: str, *, data_dir: DataDir = None, as_json: Json = False) -> None:
    """End an API key for good. Every edge refuses it within a second.

    Example: `buffmoney keys revoke key_…`
    """
    from buffmoney.base.clock import SystemClock, format_time
    from buffmoney.merchants import keys as owner

    async def work(connection: Connection, _settings: Settings) -> owner.ApiKey:
        return await owner.revoke(connection, SystemClock(), (await owner.tenant_of(connection, key_id))[0], key_id)

    key = _as_owner(work, data_dir)
    revoked_at = format_time(key.revoked_at) if key.revoked_at else None
    if as_json:
        say_json({"keyId": key.key_id, "prefix": key.prefix, "revokedAt": revoked_at})
    else:
        say(f"{key.key_id} ({key.prefix}…) is revoked since {revoked_at}.")


@keys.command(name="rotate")
def keys_rotate(
    key_id: str,
    *,
    overlap_seconds: Annotated[int, Parameter(help="How long the old key goes on working.")] = 86_400,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make an API key in place of another, which goes on working for a while. The new one is shown this once.

    Example: `buffmoney keys rotate key_… --overlap-seconds 3600`
    """
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants import keys as owner

    async def work(connection: Connection, settings: Settings) -> owner.NewKey:
        tenant_id, mode = await owner.tenant_of(connection, key_id)
        return await owner.rotate(connection, settings.api_key_pepper, SystemClock(), tenant_id, mode, key_id, overlap_seconds)

    _show_new_key(_as_owner(work, data_dir), as_json)


def _show_new_key(made: Any, as_json: bool) -> None:
    if as_json:
        say_json({"keyId": made.key_id, "prefix": made.prefix, "apiKey": made.secret})
    else:
        say(f"{made.key_id}  {made.secret}")
        say("Keep the key: it is not stored and cannot be shown again.")


# ---------------------------------------------------------------- prices, usage, balances


@rate_cards.command(name="create")
def rate_cards_create(
    *,
    file: Annotated[Path, Parameter(help="The rate card as JSON.")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> int:
    """Make a rate card. It is in force at once unless it says effectiveFrom.

    Example: `buffmoney rate-cards create --file card.json` where card.json holds
    `{"name": "standard", "currency": "CNY", "charges": [{"metric": "tokens_input", "per": "1000000", "price": "4"}]}`
    """
    try:
        body = file.read_bytes()
    except OSError as failure:
        fail(f"{file} cannot be read: {failure.strerror}")
    made = _request("POST", "/v1/rate-cards", url, api_key, body)
    if as_json:
        say_json(made)
    else:
        since = made.get("effectiveFrom") or "ever"
        say(f"{made.get('rateCardId', '')}  {made.get('name', '')}: {len(made.get('charges', []))} charge(s), in force from {since}")
    return 0


@usage.command(name="import")
def usage_import(
    file: Path,
    *,
    columns: Annotated[
        list[str], Parameter(name="--map", negative="", help="METRIC=COLUMN: which column holds a metric's quantity. Repeatable.")
    ],
    time_column: Annotated[str, Parameter(help="The column with the time of the usage.")],
    key_prefix: Annotated[str, Parameter(help="Start of every event's idempotency key: the same prefix again finds duplicates.")],
    customer: Annotated[str | None, Parameter(help="The customer of every line.")] = None,
    customer_column: Annotated[str | None, Parameter(help="The column with the customer.")] = None,
    dimension: Annotated[list[str] | None, Parameter(negative="", help="NAME=VALUE for every event. Repeatable.")] = None,
    shift_to: Annotated[str | None, Parameter(help="now or a time: the last line gets it, the others keep their distance.")] = None,
    error_file: Annotated[Path | None, Parameter(help="Where bad lines go. Else FILE.errors.jsonl.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> int:
    """Import usage from a CSV or JSONL file. Run it again after an interruption: nothing is counted twice.

    Example: `buffmoney usage import trace.csv --map tokens_input=ContextTokens --map tokens_output=GeneratedTokens
    --time-column TIMESTAMP --customer conv --dimension model=gpt-4o --shift-to now --key-prefix conv`
    """
    from buffmoney.importing import import_usage

    address_url, key = address(url, api_key)
    code: int = import_usage(
        file,
        metrics=_pairs("--map", columns),
        time_column=time_column,
        customer=customer,
        customer_column=customer_column,
        dimensions=_pairs("--dimension", dimension or []),
        shift_to=shift_to,
        key_prefix=key_prefix,
        error_file=error_file,
        url=address_url,
        api_key=key,
        as_json=as_json,
    )
    return code


@app.command
def balance(customer: str, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a customer's balance.

    Example: `buffmoney balance acme`
    """
    from urllib.parse import quote

    found = _request("GET", f"/v1/customers/{quote(customer, safe='')}/balance", url, api_key)
    if as_json:
        say_json(found)
        return
    say(f"{customer}: {found['available']} {found['currency']} available, {found['held']} held (ledger sequence {found['sequence']})")
    for grant in found.get("grants", []):
        say("  " + "  ".join(f"{name}={value}" for name, value in grant.items() if value is not None))


@ledger.command(name="verify")
def ledger_verify(*, data_dir: DataDir = None, as_json: Json = False) -> int:
    """Derive every balance, charge and chain again and compare. Exit code 1 and the first differences if anything is off.

    Example: `buffmoney ledger verify`
    """
    from buffmoney.ledger.verify import run

    return run(settings_of(data_dir).complete(), as_json=as_json)


@app.command
def demo(
    *, data_dir: Annotated[Path | None, Parameter(help="Kept afterwards. Without it a fresh directory is used and removed.")] = None
) -> int:
    """See it at work in under a minute: a merchant, customers, traffic, a crash of the core, and the ledger verified.

    Example: `buffmoney demo`
    """
    from buffmoney.demo import run

    return run(data_dir=data_dir)


def _pairs(flag: str, texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise ValueError(f"{flag} takes NAME=VALUE, not {text!r}")
        if name in pairs:
            raise ValueError(f"{flag} names {name!r} twice")
        pairs[name] = value
    return pairs


def _request(method: str, path: str, url: str | None, api_key: str | None, body: bytes | None = None) -> dict[str, Any]:
    """One request to the API. Ends the process with the problem's detail unless it succeeds."""
    import httpx

    base, key = address(url, api_key)
    headers = {"Authorization": f"Bearer {key}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        answer = httpx.request(method, base + path, content=body, headers=headers, timeout=30)
    except httpx.HTTPError as failure:
        fail(f"{base} does not answer: {failure}")
    try:
        content = answer.json()
    except json.JSONDecodeError:
        content = {}
    if not answer.is_success:
        param = f" ({content['param']})" if content.get("param") else ""
        fail(f"{content.get('detail') or answer.text[:500]}{param} [{content.get('code') or answer.status_code}]")
    result: dict[str, Any] = content
    return result
