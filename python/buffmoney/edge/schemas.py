"""Wire structs as JSON Schema. What a field means is said once, in the docstring of its struct, as `fieldName: …`.

A docstring is divided where a field's name on the wire begins a sentence or a clause and a colon follows: `expiresAt: RFC 3339; what is
left then is lost.` describes one field, `buy, get: CNY.` two, `version null: a draft.` what the absence of a value means. What stands
before the first of them describes the struct. Names that mean the same everywhere are in `GLOSSARY`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

Schema = dict[str, Any]

GLOSSARY = {
    "customerExternalId": "Your id of the customer.",
    "externalId": "Your id of the customer.",
    "idempotencyKey": "The key that names the event for good.",
    "blocks": "Whose blocks a package counts: those of a billing period, or of each event by itself.",
    "metric": "The metric's code.",
    "quantity": "Units of the metric.",
    "dimensions": "The event's own words for what it was: model, region, tier, or any of yours.",
    "events": "How many events.",
    "occurredAt": "When it was used.",
    "acceptedAt": "When it was taken.",
    "createdAt": "When it was made.",
    "postedAt": "When it was posted.",
    "voidedAt": "When it was taken back.",
    "publishedAt": "When it was published; null for a draft.",
    "expiresAt": "When it ends by itself; null: never.",
    "effectiveFrom": "From when on it counts.",
    "currency": "ISO 4217.",
    "amount": "In the currency of the wallet.",
    "charge": "What it was charged.",
    "charged": "The sum of the charges.",
    "available": "What can be spent.",
    "held": "What is on hold.",
    "unbilled": "What is owed and was not invoiced for; 0 where customers pay before.",
    "balanceAfter": "What was available right after it.",
    "heldAfter": "What was on hold right after it.",
    "unbilledAfter": "What was owed and not invoiced for right after it.",
    "balance": "The wallet right after it.",
    "data": "The entries.",
    "nextCursor": "Give it as `cursor` to get the next page; null: this is the last.",
    "limit": "How many entries a page has at most.",
    "cursor": "The `nextCursor` of the page before.",
    "requestId": "Names this request in our logs.",
    "sequence": "The number of the posting in its account, from 1 without gaps.",
    "kind": "What it is.",
    "mode": "Sandbox and live share nothing.",
    "status": "Where it stands.",
    "name": "For people.",
    "reason": "Why, in the merchant's words.",
    "timeZone": "An IANA name, for example Asia/Shanghai.",
    "debitAccount": "Where the amount came from.",
    "creditAccount": "Where the amount went.",
    "account": "What paid it or got it.",
    "commitId": "The commit of the ledger that has it.",
    "rateCardId": "The rate card.",
    "productId": "The product.",
    "holdId": "The hold.",
    "grantId": "The grant.",
    "topUpId": "The top-up.",
    "promotionId": "The promotion.",
    "refundId": "The refund.",
    "keyId": "The API key's id, which is no secret.",
    "match": "The dimensions that an event must have for this line; empty: any.",
    "model": "How the price is worked out: see the fields of a charge.",
    "price": "For `per` units.",
    "cost": "For `per` units, before the mark-up.",
    "per": "How many units the price is for.",
    "percent": "What is put on top of the cost.",
    "minimum": "What an event costs at least.",
    "minimumPerPeriod": "What a billing period costs at least in which the line was used.",
    "allowance": "Units that are free for a customer in each billing period.",
    "tiers": "From the first unit on; the last is open.",
    "upTo": "The last unit of the tier, counted from the beginning of the billing period; null: no end.",
    "periodStart": "When the billing period begins.",
    "periodEnd": "When the billing period ends, itself not in it.",
    "from": "RFC 3339, itself in the span; null: from the first event on.",
    "to": "RFC 3339, itself not in the span; null: up to now.",
    "channel": "The payment channel.",
    "code": "Stable: programs may decide by it.",
    "priority": "0 to 1000; lower is spent first.",
    "remaining": "What is left of it.",
    "accepted": "How many events were taken.",
    "duplicates": "How many events were taken before.",
    "rejected": "How many events were not taken.",
    "after": "What it would have been.",
    "before": "What it was.",
    "orderNo": "Our number of the order at the channel.",
}
"""what a name on the wire means where its struct's docstring does not say it"""


def schemas_of(kinds: Iterable[Any]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """The schema of each kind, and the components that they refer to."""
    kinds = list(kinds)
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    structs = {kind.__name__: kind for kind in _structs_of(kinds)}
    for name, schema in components.items():
        components[name] = _of_struct(structs[name], schema) if name in structs else schema
    return dict(zip(kinds, schemas, strict=True)), dict(sorted(components.items()))


def parameters_of(kind: type) -> dict[str, Schema]:
    """The schema of each query parameter, by name. There is no null in a query string: a parameter is given or not."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    found = _of_struct(kind, components[schema["$ref"]])
    return {name: without_null(of) | {"required": name in found.get("required", ())} for name, of in found.get("properties", {}).items()}


def without_null(schema: Schema) -> Schema:
    """A nullable schema without its null, and without a default of null."""
    schema = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    options = [option for option in schema.pop("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **schema}
    return {**schema, "anyOf": options} if options else schema


def sentences(text: str, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A docstring divided into what it says of the whole, and what it says of each of these fields."""
    text = " ".join(text.split())
    name = "(?:" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + ")"
    marker = re.compile(rf"(?:^|(?<=[.;:,] ))({name}(?:(?:, | and ){name})*)( null| true| false)?: ")
    about: dict[str, str] = {}
    starts = list(marker.finditer(text)) if name != "(?:)" else []
    for start, following in zip(starts, [*starts[1:], None], strict=False):
        said = _sentence(text[start.end() : following.start() if following else None])
        if start[2]:
            said = f"{start[2].strip().capitalize()}: {said[:1].lower()}{said[1:]}"
        for field in re.split(", | and ", start[1]):
            about[field] = f"{about[field]} {said}" if field in about else said
    return _sentence(text[: starts[0].start()] if starts else text), about


def _sentence(text: str) -> str:
    text = text.strip().rstrip(";:,")
    # `a-z` and `1 to 31` stay as they are.
    begun = text[:1].upper() + text[1:] if re.match("[a-z]+[ ,;.:']|[a-z]+$", text) else text
    return begun + ("" if text.endswith((".", "…")) or not text else ".")


def _of_struct(kind: type, schema: Schema) -> Schema:
    properties: dict[str, Schema] = schema.get("properties", {})
    # A struct inherits what its bases say of the fields that it has from them.
    said = [
        sentences(base.__doc__ or "", properties)
        for base in kind.__mro__
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct
    ]
    about = {name: text for _, fields in reversed(said) for name, text in fields.items()}
    own = said[0][0]
    never_null = kind.__struct_config__.omit_defaults  # type: ignore[attr-defined]
    finished: dict[str, Schema] = {}
    for name, of in properties.items():
        of = _typed(of)
        if never_null and "default" in of:
            of = without_null(of)
        if "description" not in of:
            described = about.get(name) or GLOSSARY.get(name)
            if described and described.startswith("Null: ") and name in GLOSSARY:
                described = f"{GLOSSARY[name].partition(';')[0].rstrip('.')}; {described[:1].lower()}{described[1:]}"
            of = {"description": described, **of} if described else of
        finished[name] = of
    return {**schema, "description": own, **({"properties": finished} if properties else {})}


def _typed(schema: Schema) -> Schema:
    """msgspec leaves the type of an enumeration of texts open."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_typed(option) for option in schema["anyOf"]]}
    if "items" in schema:
        return {**schema, "items": _typed(schema["items"])}
    values = schema.get("enum")
    if values is None or "type" in schema:
        return schema
    return {"type": "string" if None not in values else ["string", "null"], **schema}


def _structs_of(kinds: Iterable[Any]) -> set[type]:
    """These structs and all that their fields are made of."""
    found: set[type] = set()
    waiting: list[Any] = list(msgspec.inspect.multi_type_info(kinds))
    while waiting:
        one = waiting.pop()
        if isinstance(one, msgspec.inspect.Metadata):
            waiting.append(one.type)
        elif isinstance(one, msgspec.inspect.UnionType):
            waiting += one.types
        elif isinstance(one, msgspec.inspect.ListType):
            waiting.append(one.item_type)
        elif isinstance(one, msgspec.inspect.DictType):
            waiting.append(one.value_type)
        elif isinstance(one, msgspec.inspect.StructType) and one.cls not in found:
            found.add(one.cls)
            waiting += [field.type for field in one.fields]
    return found
