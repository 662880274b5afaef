"""Commands about prices: rate cards from a preset or a file to a published version, and what changed between two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from cyclopts import App, Parameter

from buffmoney.cli.context import ApiKey, DataDir, Json, Url, api_key_of, fail, request, say, say_json, say_table, settings_of

rate_cards = App(name="rate-cards", help="Rate cards: what usage costs.")


def register(app: App) -> None:
    """Adds the commands."""
    app.command(rate_cards)


@rate_cards.command(name="init")
def init(
    *,
    preset: Annotated[
        Literal["tokens", "tiers", "volume", "images", "image_credits", "agent_runs", "storage"], Parameter(help="What to start from.")
    ],
    file: Annotated[Path, Parameter(help="Where to write it, - for the output. A file that exists stays as it is.")] = Path("-"),
) -> int:
    """Write a rate card to start from. Edit its prices, then create it.

    Example: `buffmoney rate-cards init --preset tokens --file card.json`
    """
    from buffmoney.pricing import presets

    text = presets.text(preset)
    if str(file) == "-":
        sys.stdout.write(text)
        return 0
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except OSError as failure:
        fail(f"{file} cannot be written: {failure.strerror}")
    say(f"{file} is written. Next: buffmoney rate-cards create --file {file}")
    return 0


@rate_cards.command(name="create")
def create(
    *,
    file: Annotated[Path, Parameter(help="The rate card as JSON, - for the input.")],
    draft: Annotated[bool, Parameter(negative="", help="Keep it as a draft: it prices nothing until it is published.")] = False,
    product: Annotated[str | None, Parameter(help="Id of the product, prod_… Else what the file says, else the default product.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> int:
    """Make a rate card. It is in force at once unless it says effectiveFrom or is a draft.

    Example: `buffmoney rate-cards create --file card.json` where card.json holds
    `{"name": "standard", "currency": "CNY", "charges": [{"metric": "tokens_input", "per": "1000000", "price": "4"}]}`
    """
    try:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as failure:
        fail(f"{file} cannot be read: {failure.strerror}")
    changes: dict[str, Any] = {}
    if draft:
        changes["draft"] = True
    if product is not None:
        changes["productId"] = product
    made = request("POST", "/v1/rate-cards", url, api_key, _with(body, changes, file) if changes else body)
    if as_json:
        say_json(made)
    else:
        _say_state(made)
    return 0


@rate_cards.command(name="list")
def list_cards(
    *,
    product: Annotated[str | None, Parameter(help="Of this product only, prod_…")] = None,
    status: Annotated[Literal["draft", "published"] | None, Parameter(help="Of this status only.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> int:
    """List rate cards, newest first.

    Example: `buffmoney rate-cards list --status draft`
    """
    filters = {name: value for name, value in (("productId", product), ("status", status)) if value is not None}
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": "200", **filters, **({"cursor": cursor} if cursor else {})}
        page = request("GET", f"/v1/rate-cards?{urlencode(query)}", url, api_key)
        found += page["data"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    if as_json:
        say_json({"rateCards": found})
        return 0
    codes = {one["productId"]: one["code"] for one in request("GET", "/v1/products", url, api_key)["data"]}
    say_table(
        ("rate card", "product", "version", "name", "lines", "in force from", "state"),
        (
            (
                card["rateCardId"],
                codes.get(card["productId"], card["productId"]),
                _version(card),
                card["name"],
                str(card["chargeCount"]),
                _since(card),
                card["state"].replace("_", " "),
            )
            for card in found
        ),
    )
    return 0


@rate_cards.command(name="show")
def show(rate_card_id: str, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> int:
    """Show a rate card with its lines.

    Example: `buffmoney rate-cards show rc_…`
    """
    card = request("GET", f"/v1/rate-cards/{quote(rate_card_id, safe='')}", url, api_key)
    if as_json:
        say_json(card)
        return 0
    _say_state(card)
    fields = (
        "price",
        "prices",
        "cost",
        "costs",
        "per",
        "percent",
        "minimum",
        "minimums",
        "minimumPerPeriod",
        "minimumsPerPeriod",
        "currency",
        "allowance",
        "blocks",
        "tiers",
    )
    used = [name for name in fields if any(name in line for line in card["charges"])]
    say_table(
        ("line", "metric", "for", "model", *used),
        (
            (
                str(number),
                line["metric"],
                ", ".join(f"{name}={value}" for name, value in line["match"].items()),
                line["model"],
                *(_tiers(line) if name == "tiers" else _amount(line.get(name, "")) for name in used),
            )
            for number, line in enumerate(card["charges"])
        ),
    )
    return 0


@rate_cards.command(name="publish")
def publish(
    rate_card_id: str,
    *,
    effective_from: Annotated[str | None, Parameter(help="From when on, RFC 3339. Else what the draft says, else at once.")] = None,
    audience: Annotated[
        Literal["everyone", "assigned"] | None, Parameter(help="Who meets it: everyone, or customers to whom it is assigned.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> int:
    """Publish a draft as the next version of its product's rate card. It never changes again.

    Example: `buffmoney rate-cards publish rc_… --effective-from 2030-01-01T00:00:00+08:00`
    """
    import msgspec

    said = {name: value for name, value in (("effectiveFrom", effective_from), ("audience", audience)) if value is not None}
    body = msgspec.json.encode(said)
    card = request("POST", f"/v1/rate-cards/{quote(rate_card_id, safe='')}/publish", url, api_key, body)
    if as_json:
        say_json(card)
    else:
        _say_state(card)
    return 0


@rate_cards.command(name="diff")
def diff(rate_card_id: str, against: str | None = None, *, url: Url = None, api_key: ApiKey = None, as_json: Json = False) -> int:
    """Show what changes when a rate card takes the place of another: by default of the one in force until then.

    Example: `buffmoney rate-cards diff rc_…`
    """
    query = "" if against is None else f"?{urlencode({'against': against})}"
    found = request("GET", f"/v1/rate-cards/{quote(rate_card_id, safe='')}/diff{query}", url, api_key)
    if as_json:
        say_json(found)
        return 0
    say(f"{found['against'] or 'nothing'} → {found['rateCardId']}")
    say(found["text"])
    return 0


@rate_cards.command(name="simulate")
def simulate(
    *,
    card: Annotated[str, Parameter(help="The rate card: a file as `rate-cards create` takes it, or the id of a stored one.")],
    from_: Annotated[str | None, Parameter(name="--from", help="Usage from this time on, RFC 3339.")] = None,
    to: Annotated[str | None, Parameter(help="Usage before this time.")] = None,
    customer: Annotated[str | None, Parameter(help="Usage of this customer alone.")] = None,
    time_zone: Annotated[str, Parameter(help="Where days begin.")] = "Asia/Shanghai",
    currency: Annotated[str | None, Parameter(help="Of which customers. Else that of --customer, else the merchant's.")] = None,
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
        currency=currency,
        as_json=as_json,
    )


def _with(body: bytes, changes: dict[str, Any], file: Path) -> bytes:
    import msgspec

    from buffmoney.base.errors import Problem
    from buffmoney.base.http import refuse_repeated_names

    try:
        card = msgspec.json.decode(body, type=dict[str, Any])
        # As it is written again, only one of them would be left for the API to see.
        refuse_repeated_names(body)
    except msgspec.DecodeError as failure:
        fail(f"{file} holds no JSON object: {failure}")
    except Problem as problem:
        fail(f"{file}: {problem.detail}")
    return msgspec.json.encode({**card, **changes})


def _amount(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else ", ".join(f"{amount} {currency}" for currency, amount in value.items())


def _tiers(line: dict[str, Any]) -> str:
    ends = ((f"to {tier['upTo']}" if tier["upTo"] else "beyond", tier) for tier in line.get("tiers", []))
    return "; ".join(f"{end}: {tier['price']} per {tier['per']}" for end, tier in ends)


def _version(card: dict[str, Any]) -> str:
    return "draft" if card["status"] == "draft" else str(card["version"])


def _since(card: dict[str, Any]) -> str:
    if card["audience"] == "assigned":
        return "assignment"
    if card["effectiveFrom"] is not None:
        return str(card["effectiveFrom"])
    return "publishing" if card["status"] == "draft" else "ever"


def _say_state(card: dict[str, Any]) -> None:
    state = "a draft" if card["status"] == "draft" else f"version {card['version']}"
    say(
        f"{card['rateCardId']}  {card['name']}: {state}, {len(card['charges'])} charge(s), in force from {_since(card)}"
        + (", for customers to whom it is assigned" if card["audience"] == "assigned" else "")
    )
