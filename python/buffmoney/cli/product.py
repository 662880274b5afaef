"""Commands about what BuffMoney does: prices, usage, balances, the ledger, and the demonstration of it all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from buffmoney.cli.context import ApiKey, DataDir, Json, Url, address, api_key_of, fail, request, say, say_json, settings_of

rate_cards = App(name="rate-cards", help="Rate cards: what usage costs.")
usage = App(name="usage", help="Usage events.")
ledger = App(name="ledger", help="The append-only ledger.")


def register(app: App) -> None:
    """Adds the commands."""
    for group in (rate_cards, usage, ledger):
        app.command(group)
    app.command(balance)
    app.command(demo)


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
    made = request("POST", "/v1/rate-cards", url, api_key, body)
    if as_json:
        say_json(made)
    else:
        since = made.get("effectiveFrom") or "ever"
        say(f"{made.get('rateCardId', '')}  {made.get('name', '')}: {len(made.get('charges', []))} charge(s), in force from {since}")
    return 0


@rate_cards.command(name="simulate")
def rate_cards_simulate(
    *,
    card: Annotated[str, Parameter(help="The rate card: a file as `rate-cards create` takes it, or the id of a stored one.")],
    from_: Annotated[str | None, Parameter(name="--from", help="Usage from this time on, RFC 3339.")] = None,
    to: Annotated[str | None, Parameter(help="Usage before this time.")] = None,
    customer: Annotated[str | None, Parameter(help="Usage of this customer alone.")] = None,
    time_zone: Annotated[str, Parameter(help="Where days begin.")] = "Asia/Shanghai",
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> int:
    """Try a rate card on past usage: what was charged, and what it would have charged. Nothing is written.

    Reads the database itself, so that it can cover any number of events; the API key says whose.

    Example: `buffmoney rate-cards simulate --card card.json --from 2026-10-01T00:00:00+08:00`
    """
    from buffmoney.pricing.simulate_command import run

    return run(
        settings_of(data_dir).complete(),
        api_key_of(api_key),
        card,
        from_=from_,
        to=to,
        customer=customer,
        zone=time_zone,
        as_json=as_json,
    )


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
    time_zone: Annotated[str, Parameter(help="Of times that do not name one.")] = "UTC",
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
    return import_usage(
        file,
        metrics=_pairs("--map", columns),
        time_column=time_column,
        customer=customer,
        customer_column=customer_column,
        dimensions=_pairs("--dimension", dimension or []),
        shift_to=shift_to,
        time_zone=time_zone,
        key_prefix=key_prefix,
        error_file=error_file,
        url=address_url,
        api_key=key,
        as_json=as_json,
    )


def balance(customer: str, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a customer's balance.

    Example: `buffmoney balance acme`
    """
    from urllib.parse import quote

    found = request("GET", f"/v1/customers/{quote(customer, safe='')}/balance", url, api_key)
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
