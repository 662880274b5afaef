"""Commands about what BuffMoney does: usage, balances, the ledger, and the demonstration of it all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from buffmoney.cli import corrections, periods
from buffmoney.cli.context import (
    ApiKey,
    DataDir,
    Json,
    Url,
    address,
    event_path,
    fail,
    pairs,
    payer_of,
    request,
    say,
    say_json,
    settings_of,
)

usage = App(name="usage", help="Usage events.")
ledger = App(name="ledger", help="The append-only ledger.")


def register(app: App) -> None:
    """Adds the commands."""
    for group in (usage, ledger):
        app.command(group)
    corrections.register(usage)
    periods.register(usage)
    app.command(balance)
    app.command(demo)


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
        metrics=pairs("--map", columns),
        time_column=time_column,
        customer=customer,
        customer_column=customer_column,
        dimensions=pairs("--dimension", dimension or []),
        shift_to=shift_to,
        time_zone=time_zone,
        key_prefix=key_prefix,
        error_file=error_file,
        url=address_url,
        api_key=key,
        as_json=as_json,
    )


@usage.command(name="explain")
def usage_explain(key: str, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Explain an event's charge: the line that priced it, the calculation, and the postings that carry it.

    Example: `buffmoney usage explain call-4711-in`
    """
    found = request("GET", f"{event_path(key)}/charge", url, api_key)
    if as_json:
        say_json(found)
        return
    card, line = found["rateCard"], found["line"]
    version = f" version {card['version']}" if card.get("version") else ""
    names = ("price", "cost", "per", "percent", "minimum", "minimumPerPeriod", "allowance", "blocks")
    terms = "  ".join(f"{name}={line[name]}" for name in names if name in line)
    used = f"{found['quantity']} {found['metric']} at {found['occurredAt']}"
    say(f"{found['customerExternalId']}: {used}, charged {found['charge']} {found['currency']}")
    say("  dimensions  " + (_named(found["dimensions"]) or "none"))
    say(f"  rate card   {card['name']}{version} ({card['rateCardId']}), in force from {card['effectiveFrom'] or 'ever'}")
    say(f"  line        {line['index']}: {line['model']}  {terms}  for {_named(line['match']) or 'all dimensions'}")
    if (counter := found["counter"]) is not None:
        say(f"  period      {counter['periodStart']} to {counter['periodEnd']} ({counter['timeZone']})")
        say(f"  counter     {counter['before']} before, {counter['after']} after, {counter['allowanceUsed']} of it free")
    if (blocks := found["blocks"]) is not None:
        say(f"  period      {blocks['periodStart']} to {blocks['periodEnd']} ({blocks['timeZone']})")
        left = f"{blocks['leftBefore']} units left before, {blocks['leftAfter']} after"
        say(f"  blocks      {left}, {blocks['bought']} bought")
    if (period := found["period"]) is not None:
        say(f"  period      {period['periodStart']} to {period['periodEnd']} ({period['timeZone']}): {period['pricing']}")
    for step in found["steps"]:
        say(f"  {step['what']}: {step['formula']} = {step['amount']}")
    for posting in found["postings"]:
        others = posting["events"] - 1
        part = f" of {posting['amount']}, with {others} other event(s)" if others else ""
        payer = f"paid by {payer_of(posting)}, balance after {posting['balanceAfter']}"
        if posting["unbilledAfter"] != "0":
            payer += f", unbilled {posting['unbilledAfter']}"
        say(f"  posting {posting['sequence']}: {posting['shareOfThisEvent']}{part}, {payer}")
    if not found["postings"]:
        say("  free of charge: no posting")
    if found["amends"]:
        say(f"  amends {found['amends']}")
    if found["void"]:
        void = found["void"]
        say(f"  voided at {void['voidedAt']} by {void['voidedBy']}: {void['amount']} given back, balance after {void['balanceAfter']}")
        for one in void["givenBackTo"]:
            say(f"    {one['amount']} to {payer_of(one)}")
        if void["reason"]:
            say(f"    reason: {void['reason']}")
        if found["amendedBy"]:
            say(f"    amended by {found['amendedBy']}")


def balance(customer: str, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a customer's balance.

    Example: `buffmoney balance acme`
    """
    from urllib.parse import quote

    found = request("GET", f"/v1/customers/{quote(customer, safe='')}/balance", url, api_key)
    if as_json:
        say_json(found)
        return
    amounts = f"{found['available']} {found['currency']} available, {found['held']} held, {found['unbilled']} unbilled"
    say(f"{customer}: {amounts} (ledger sequence {found['sequence']})")
    for grant in found.get("grants", []):
        say("  " + "  ".join(f"{name}={value}" for name, value in grant.items() if value is not None))


@ledger.command(name="verify")
def ledger_verify(
    *,
    against: Annotated[
        Path | None,
        Parameter(
            help="An earlier report (--json), kept outside of the database: the newest postings of its cash books must still be there."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> int:
    """Derive every balance, charge and chain again and compare. Exit code 1 and the first differences if anything is off.

    Example: `buffmoney ledger verify`
    """
    from buffmoney.ledger.cash_verify import read_noted
    from buffmoney.ledger.verify import run

    noted = []
    if against is not None:
        try:
            noted = read_noted(against.read_bytes())
        except OSError as failure:
            fail(f"{against} cannot be read: {failure.strerror}")
    return run(settings_of(data_dir).complete(), against=noted, as_json=as_json)


def demo(
    *, data_dir: Annotated[Path | None, Parameter(help="Kept afterwards. Without it a fresh directory is used and removed.")] = None
) -> int:
    """See it at work in under a minute: a merchant, customers, traffic, a crash of the core, and the ledger verified.

    Example: `buffmoney demo`
    """
    from buffmoney.demo import run

    return run(data_dir=data_dir)


def _named(values: dict[str, str]) -> str:
    return "  ".join(f"{name}={value}" for name, value in values.items())
