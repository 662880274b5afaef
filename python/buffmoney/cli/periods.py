"""The command that shows what billing periods cost at their ends."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from cyclopts import App, Parameter

from buffmoney.cli.context import ApiKey, Json, Url, payer_of, request, say, say_json


def register(usage: App) -> None:
    """Adds the command to `buffmoney usage`."""
    usage.command(periods, name="periods")


def periods(
    *,
    customer: Annotated[str | None, Parameter(help="Of this customer only.")] = None,
    period_start: Annotated[str | None, Parameter(help="Only the period that begins at this moment, RFC 3339.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show what billing periods were charged at their ends, newest first: volume tiers and minimums per period, step by step.

    Example: `buffmoney usage periods --customer acme`
    """
    filters = {name: value for name, value in (("customerExternalId", customer), ("periodStart", period_start)) if value is not None}
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": "200", **filters, **({"cursor": cursor} if cursor else {})}
        page = request("GET", f"/v1/period-charges?{urlencode(query)}", url, api_key)
        found += page["data"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    if as_json:
        say_json({"periodCharges": found})
        return
    for one in found:
        _say_period(one)
    if not found:
        say("No period was charged at its end yet.")


def _say_period(one: dict[str, Any]) -> None:
    line, card = one["line"], one["rateCard"]
    match = "  ".join(f"{name}={value}" for name, value in line["match"].items())
    about = f"{one['periodStart']} to {one['periodEnd']} ({one['timeZone']}), revision {one['revision']}"
    say(f"{one['customerExternalId']}: {one['total']} {one['currency']} for {one['quantity']} {one['metric']}, {about}")
    say(f"  rate card   {card['name']} version {card['version']} ({card['rateCardId']})")
    say(f"  line        {line['index']}: {line['model']}  for {match or 'all dimensions'}")
    for step in one["steps"]:
        say(f"  {step['what']}: {step['formula']} = {step['amount']}")
    for posting in one["postings"]:
        payer = f"{payer_of(posting)}, balance after {posting['balanceAfter']}, unbilled {posting['unbilledAfter']}"
        say(f"  posting {posting['sequence']}: {posting['kind']} {posting['amount']}, {payer}")
    if not one["postings"]:
        say("  no posting: it costs what it cost before")
