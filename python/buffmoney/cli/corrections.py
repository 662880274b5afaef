"""Commands that correct usage: void an event, amend it, or void all that a filter finds."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from buffmoney.cli.context import ApiKey, Json, Url, event_path, fail, pairs, payer_of, request, say, say_json

Reason = Annotated[str | None, Parameter(help="Kept with the void.")]
TIMEOUT_S = 120.0
"""A call voids for some seconds, after it has looked for the events."""


def register(usage: App) -> None:
    """Adds the commands to `buffmoney usage`."""
    usage.command(void, name="void")
    usage.command(amend, name="amend")


def void(
    key: str | None = None,
    *,
    customer: Annotated[str | None, Parameter(help="All events of this customer.")] = None,
    metric: Annotated[str | None, Parameter(help="All events of this metric.")] = None,
    dimension: Annotated[list[str] | None, Parameter(negative="", help="NAME=VALUE that all the events have. Repeatable.")] = None,
    from_: Annotated[str | None, Parameter(name="--from", help="Events that occurred from this time on.")] = None,
    to: Annotated[str | None, Parameter(help="Events that occurred before this time.")] = None,
    preview: Annotated[bool, Parameter(negative="", help="Only show what the filter finds.")] = False,
    yes: Annotated[bool, Parameter(negative="", help="Void what the filter finds.")] = False,
    reason: Reason = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Take back an event by its key, or all events that a filter finds. Their charges go back to the grants that paid them.

    Example: `buffmoney usage void call-4711-in --reason "counted twice"`, or
    `buffmoney usage void --customer acme --from 2026-10-01T00:00:00+08:00 --preview`, and then with --yes
    """
    filters: dict[str, Any] = {
        name: value
        for name, value in (
            ("customerExternalId", customer),
            ("metric", metric),
            ("dimensions", pairs("--dimension", dimension or [])),
            ("from", from_),
            ("to", to),
        )
        if value
    }
    if key is not None:
        if filters or preview or yes:
            fail("Give a key or a filter, not both.")
        _void_one(key, reason, url, api_key, as_json=as_json)
        return
    if not filters:
        fail("Give the key of an event, or a filter: --customer, --metric, --dimension, --from, --to.")
    if preview == yes:
        fail("Give --preview to see what the filter finds, or --yes to void it.")
    found = _ask({"filter": filters, "preview": True}, url, api_key)
    if preview:
        _say_set(found, as_json=as_json)
        return
    done = _void_set(found, {"filter": filters, "preview": False, "setId": found["setId"], "reason": reason}, url, api_key, quiet=as_json)
    if as_json:
        say_json(done)
    else:
        say(f"{done['voided']:,} of {done['events']:,} events voided, {_sums(done['amountByCurrency'])} given back")
        for one in done["refused"]:
            say(f"  not {one['idempotencyKey']}: {one['code']}")
    if not done["done"] or done["refused"]:
        raise SystemExit(1)


def amend(
    key: str,
    *,
    new_key: Annotated[str, Parameter(help="Idempotency key of the event that takes its place.")],
    quantity: str | None = None,
    metric: str | None = None,
    occurred_at: Annotated[str | None, Parameter(help="RFC 3339 with a zone.")] = None,
    dimension: Annotated[list[str] | None, Parameter(negative="", help="NAME=VALUE; all of them together replace the old ones.")] = None,
    reason: Reason = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Take an event back and another one instead, in one step or not at all. What is left out stays as it was.

    Example: `buffmoney usage amend call-4711-in --new-key call-4711-in-2 --quantity 900`
    """
    body = {"idempotencyKey": new_key, "quantity": quantity, "metric": metric, "occurredAt": occurred_at, "reason": reason}
    given: dict[str, Any] = {name: value for name, value in body.items() if value is not None}
    if dimension:
        given["dimensions"] = pairs("--dimension", dimension)
    done = request("POST", f"{event_path(key)}/amend", url, api_key, msgspec.json.encode(given))
    if as_json:
        say_json(done)
        return
    was, event = done["void"], done["event"]
    say(f"{key}: {was['amount']} {was['currency']} given back; {event['idempotencyKey']}: charged {event['charge']} {event['currency']}")
    say(f"  {was['customerExternalId']} has {done['balanceAfter']} {event['currency']} available{_owed(done)}")


def _owed(done: dict[str, Any]) -> str:
    # What was said before there was anything unbilled is said again as it was.
    unbilled = done.get("unbilledAfter", "0")
    return "" if unbilled == "0" else f", {unbilled} unbilled"


def _void_one(key: str, reason: str | None, url: str | None, api_key: str | None, *, as_json: bool) -> None:
    body = {} if reason is None else {"reason": reason}
    done = request("POST", f"{event_path(key)}/void", url, api_key, msgspec.json.encode(body))
    if as_json:
        say_json(done)
        return
    before = ", before" if done["alreadyVoided"] else ""
    say(f"{key}: {done['amount']} {done['currency']} given back to {done['customerExternalId']} at {done['voidedAt']}{before}")
    for one in done["givenBackTo"]:
        say(f"  {one['amount']} to {payer_of(one)}")
    say(f"  {done['balanceAfter']} {done['currency']} available after it{_owed(done)}")


def _ask(body: dict[str, Any], url: str | None, api_key: str | None) -> dict[str, Any]:
    return request("POST", "/v1/usage-events/void", url, api_key, msgspec.json.encode(body), timeout_s=TIMEOUT_S)


def _void_set(found: dict[str, Any], body: dict[str, Any], url: str | None, api_key: str | None, *, quiet: bool) -> dict[str, Any]:
    """Repeats the call until it is done, or nothing moves any more. The amount is that of all calls."""
    from decimal import Decimal

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("voiding"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    amounts: dict[str, Decimal] = {}
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("voiding", total=found["events"], completed=found["voided"])
        while True:
            before = found["voided"]
            found = _ask(body, url, api_key)
            for currency, amount in found["amountByCurrency"].items():
                amounts[currency] = amounts.get(currency, Decimal(0)) + Decimal(amount)
            progress.update(task, completed=found["voided"])
            if found["done"] or found["voided"] == before:
                shown = {currency: format(amount, "f") for currency, amount in amounts.items()}
                return {**found, "amount": None if len(shown) > 1 else next(iter(shown.values()), "0"), "amountByCurrency": shown}


def _sums(by_currency: dict[str, str]) -> str:
    return ", ".join(f"{amount} {currency}" for currency, amount in by_currency.items()) or "0"


def _say_set(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    say(f"{found['events']:,} events, {_sums(found['chargeByCurrency'])} charged (set {found['setId']})")
    for one in found["byMetric"]:
        say(f"  {one['metric']}: {one['events']:,} events, quantity {one['quantity']}, charged {one['charge']} {one['currency']}")
    for one in found["byCustomer"]:
        say(f"  {one['customerExternalId']}: {one['events']:,} events, charged {one['charge']} {one['currency']}")
