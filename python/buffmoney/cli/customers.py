"""Commands about customers: which rate card each of them meets."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

from cyclopts import App, Parameter

from buffmoney.cli.context import ApiKey, Json, Url, request, say, say_json, say_table

customers = App(name="customers", help="Customers: which rate cards they meet.")

From = Annotated[str | None, Parameter(name="--from", help="From when on, RFC 3339, by when usage occurred. Else at once.")]


def register(app: App) -> None:
    """Adds the commands."""
    app.command(customers)


@customers.command(name="assign-card")
def assign_card(
    customer: str, rate_card_id: str, *, from_: From = None, url: Url = None, api_key: ApiKey = None, as_json: Json = False
) -> int:
    """Let a customer meet one published rate card in place of its product's default ones.

    Example: `buffmoney customers assign-card acme rc_…`
    """
    import msgspec

    body = {"rateCardId": rate_card_id, **({} if from_ is None else {"effectiveFrom": from_})}
    _say_assignment(request("PUT", _path(customer), url, api_key, msgspec.json.encode(body)), as_json)
    return 0


@customers.command(name="unassign-card")
def unassign_card(
    customer: str,
    *,
    product: Annotated[str | None, Parameter(help="Id of the product, prod_… Else the default product.")] = None,
    from_: From = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> int:
    """Let a customer meet the default rate cards of a product again.

    Example: `buffmoney customers unassign-card acme`
    """
    query = {name: value for name, value in (("productId", product), ("effectiveFrom", from_)) if value is not None}
    _say_assignment(request("DELETE", f"{_path(customer)}?{urlencode(query)}", url, api_key), as_json)
    return 0


@customers.command(name="cards")
def cards(customer: str, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> int:
    """Show the rate cards that a customer was, is and will be assigned, newest first.

    Example: `buffmoney customers cards acme`
    """
    found = request("GET", _path(customer), url, api_key)
    if as_json:
        say_json(found)
        return 0
    say_table(
        ("product", "rate card", "version", "from", "state"),
        (
            (one["productId"], one["rateCardId"] or "default cards", str(one["version"] or ""), one["effectiveFrom"], one["state"])
            for one in found["data"]
        ),
    )
    return 0


def _path(customer: str) -> str:
    # An id of dots alone would be taken for a step in the path.
    return f"/v1/customers/{quote(customer, safe='').replace('.', '%2E')}/rate-card"


def _say_assignment(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(made)
        return
    card = "the default rate cards" if made["rateCardId"] is None else f"{made['rateCardId']} ({made['name']}, version {made['version']})"
    say(f"{made['customerExternalId']}: {card} from {made['effectiveFrom']}")
