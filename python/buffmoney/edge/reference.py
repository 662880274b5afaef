"""The API's reference for people, at `/api/docs`: the OpenAPI document as pages, made here and loading nothing from anywhere.

One page for each tag, one with an overview, and one with every error code. A page is one answer: its style and its few lines of script
stand in it, and its policy lets nothing else in, by their hashes. Everything is there without scripts, which only copy examples.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import msgspec
from markupsafe import Markup, escape

from buffmoney.base.errors import CODES, ErrorCode
from buffmoney.edge import openapi
from buffmoney.edge.schemas import Schema

ROOT = "/api/docs"
_FOLDER = resources.files("buffmoney.edge").joinpath("pages")
_STYLE, _SCRIPT = (_FOLDER.joinpath(f"reference.{ending}").read_text() for ending in ("css", "js"))
_ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Crect width='8' height='8' rx='2'/%3E%3C/svg%3E"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|-?\d[\d.]*|\b(?:true|false|null)\b')
_FORMATS = {"decimal": "decimal string", "date-time": "time", "date": "date", "uri": "address"}
_TYPES = {"string": "string", "integer": "integer", "boolean": "boolean", "object": "object", "any": "any JSON"}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "public, max-age=300",
}
"""of every page"""


class Field(msgspec.Struct, frozen=True):
    """A field or parameter. place: of a parameter `path`, `query` or `header`. fields: of the object that it is, or is a list or map of."""

    name: str
    kind: str
    required: bool
    place: str
    description: Markup
    values: tuple[str, ...]
    limits: str
    default: str | None
    fields: tuple[Field, ...]


class Failure(msgspec.Struct, frozen=True):
    """The codes of one status."""

    status: int
    codes: tuple[ErrorCode, ...]


class Shown(msgspec.Struct, frozen=True):
    """One operation, ready to be shown. anchor: its id in the page, which is its operationId."""

    anchor: str
    method: str
    path: str
    summary: str
    description: Markup
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    body_about: Markup
    answer: tuple[Field, ...]
    answer_about: Markup
    status: int
    curl: str
    example: Markup
    failures: tuple[Failure, ...]


class Section(msgspec.Struct, frozen=True):
    """A tag with its operations."""

    address: str
    title: str
    description: Markup
    operations: tuple[Shown, ...]


class Reference:
    """The pages of one document. A page is made when it is first asked for, and kept."""

    def __init__(self, document: dict[str, Any], recorded: dict[str, openapi.Example]) -> None:
        self._document = document
        self._recorded = recorded
        self._slugs = {tag["name"]: tag["name"].lower().replace(" ", "-") for tag in document["tags"]}
        self._made: dict[str, bytes] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the pages are."""
        return (ROOT, *(f"{ROOT}/{slug}" for slug in self._slugs.values()), f"{ROOT}/errors")

    def page(self, address: str) -> bytes:
        """The HTML of one of the addresses."""
        if address not in self._made:
            self._made[address] = self._make(address)
        return self._made[address]

    def _make(self, address: str) -> bytes:
        info = self._document["info"]
        section = next((one for one in self._sections if one.address == address), None)
        errors = address == f"{ROOT}/errors"
        return (
            _TEMPLATES.get_template("reference.html")
            .render(
                root=ROOT,
                address=address,
                title=section.title if section else "Errors" if errors else "BuffMoney API",
                info=info,
                introduction=_prose(info["description"]),
                sections=self._sections,
                section=section,
                codes=tuple(CODES[code] for code in self._document["components"]["examples"]) if errors else (),
                style=Markup(_STYLE),  # noqa: S704  # our own file, which has no `<`
                script=Markup(_SCRIPT),  # noqa: S704
                icon=_ICON,
            )
            .encode()
        )

    @cached_property
    def _sections(self) -> tuple[Section, ...]:
        found: dict[str, list[Shown]] = {tag["name"]: [] for tag in self._document["tags"]}
        for path, item in self._document["paths"].items():
            for method, words in item.items():
                found[words["tags"][0]].append(self._shown(method.upper(), path, words))
        return tuple(
            Section(f"{ROOT}/{self._slugs[tag['name']]}", tag["name"], _prose(tag["description"]), tuple(found[tag["name"]]))
            for tag in self._document["tags"]
        )

    def _shown(self, method: str, path: str, words: dict[str, Any]) -> Shown:
        example = self._recorded[words["operationId"]]
        body = words.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        status = next(status for status in words["responses"] if status.startswith("2"))
        answer = words["responses"][status]["content"]["application/json"]["schema"]
        codes: dict[int, list[ErrorCode]] = {}
        for one, response in words["responses"].items():
            for code in response["content"].get("application/problem+json", {}).get("examples", ()):
                codes.setdefault(int(one), []).append(CODES[code])
        return Shown(
            words["operationId"],
            method,
            path,
            words["summary"],
            _prose(words["description"]),
            tuple(self._parameter(self._resolved(one)) for one in words["parameters"]),
            self._fields(body),
            _prose(self._resolved(body).get("description", "")),
            self._fields(answer),
            _prose(self._resolved(answer).get("description", "")),
            int(status),
            curl(method, path, example),
            _coloured(json.dumps(example.answer, indent=2, ensure_ascii=False)),
            tuple(Failure(status, tuple(found)) for status, found in codes.items()),
        )

    def _parameter(self, words: dict[str, Any]) -> Field:
        return self._field(words["name"], {**words["schema"], "description": words["description"]}, words["required"], words["in"])

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        schema = self._resolved(schema)
        required = schema.get("required", ())
        return tuple(self._field(name, of, name in required) for name, of in schema.get("properties", {}).items())

    def _field(self, name: str, schema: Schema, required: bool, place: str = "") -> Field:
        kind, inner = self._kind(schema)
        default = schema.get("default")
        return Field(
            name,
            kind,
            required,
            place,
            _inline(schema.get("description", "")),
            tuple(map(str, inner.get("enum", ()))),
            _limits(inner),
            None if default in (None, {}, "") else json.dumps(default, ensure_ascii=False).strip('"'),
            self._fields(inner),
        )

    def _kind(self, schema: Schema) -> tuple[str, Schema]:
        """In words what a schema is, and the schema of what it is, or is a list or a map of."""
        schema = self._resolved(schema)
        if "anyOf" in schema:
            kinds = [self._kind(option) for option in schema["anyOf"]]
            # Its null stands last.
            kinds.sort(key=lambda one: one[0] == "null")
            return " or ".join(words for words, _ in kinds), kinds[0][1]
        if schema.get("type") == "array":
            words, inner = self._kind(schema["items"])
            return f"list of {words}s" if not words.endswith("s") else f"list of {words}", {**inner, **_lengths(schema)}
        if isinstance(schema.get("additionalProperties"), dict):
            words, inner = self._kind(schema["additionalProperties"])
            return f"map to {words}", inner
        if schema.get("type") == "null":
            return "null", {}
        return _FORMATS.get(schema.get("format", ""), _TYPES[schema.get("type", "any")]), schema

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        _, kind, name = schema["$ref"].rsplit("/", 2)
        found: Schema = self._document["components"][kind][name]
        return found


def curl(method: str, path: str, example: openapi.Example) -> str:
    """The example's request as a command; BUFFMONEY_URL and BUFFMONEY_API_KEY are in the environment."""
    target = re.sub(r"\{(\w+)\}", lambda name: quote(example.path[name[1]], safe=""), path)
    query = f"?{urlencode(example.query)}" if example.query else ""
    lines = [f'curl "$BUFFMONEY_URL{target}{query}"', '-H "Authorization: Bearer $BUFFMONEY_API_KEY"']
    if method not in ("GET", "POST"):
        lines[0] = f'curl -X {method} "$BUFFMONEY_URL{target}{query}"'
    if example.key is not None:
        lines.append(f'-H "Idempotency-Key: {example.key}"')
    if example.body is not None:
        text = json.dumps(example.body, ensure_ascii=False)
        text = json.dumps(example.body, indent=2, ensure_ascii=False) if len(text) > 60 else text
        lines += ['-H "Content-Type: application/json"', f"-d {shlex.quote(text)}"]
    return " \\\n  ".join(lines)


def _limits(schema: Schema) -> str:
    words = []
    for low, high, unit in (("minimum", "maximum", ""), ("minLength", "maxLength", " bytes"), ("minItems", "maxItems", " entries")):
        least, most = schema.get(low), schema.get(high)
        if most is not None:
            words.append(f"{least} to {most:,}{unit}" if least else f"at most {most:,}{unit}")
        elif least:
            words.append(f"at least {least}{unit}")
    return ", ".join(words)


def _lengths(schema: Schema) -> Schema:
    return {name: schema[name] for name in ("minItems", "maxItems") if name in schema}


def _inline(text: str) -> Markup:
    """A sentence with `code` and **strong** in it."""
    safe = str(escape(text))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
    return Markup(safe)  # noqa: S704  # escaped above


def _prose(text: str) -> Markup:
    """Paragraphs, divided by empty lines."""
    paragraphs = [_inline(" ".join(part.split())) for part in text.split("\n\n") if part.strip()]
    return Markup("\n").join(Markup("<p>{}</p>").format(part) for part in paragraphs)


def _coloured(text: str) -> Markup:
    """JSON with its names and its values marked."""
    parts: list[Markup] = []
    at = 0
    for token in _TOKEN.finditer(text):
        look = "k" if token[1] else "s" if token[0].startswith('"') else "n"
        parts += [escape(text[at : token.start()]), Markup('<span class="{}">{}</span>').format(look, token[0])]
        at = token.end()
    return Markup("").join([*parts, escape(text[at:])])


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("buffmoney.edge", "pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
