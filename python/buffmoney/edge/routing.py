"""From a method and a path to a route, and from parameters and bytes to the structs that its handler takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from prometheus_client import Counter, Histogram

from buffmoney.base.errors import Problem
from buffmoney.base.http import Route, refuse_repeated_names

MAX_PARAMETER_BYTES = 255
MAX_QUERY_BYTES = 8_192
MAX_PATH_BYTES = 4_096

REQUESTS = Counter("buffmoney_http_requests", "Requests answered.", ["method", "path", "status"])
SECONDS = Histogram(
    "buffmoney_http_seconds",
    "From the head of a request to its answer.",
    ["method", "path"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_PLACE = re.compile(r"\s+-\s+at\s+`(?:key in )?\$?\.?([^`]*)`$")
_FIELD = re.compile(r"`([^`]+)`")
_INTEGER = re.compile("-?[0-9]{1,18}", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(slots=True)
class Endpoint:
    """A route made ready: its decoder and its metrics."""

    route: Route
    names: tuple[str, ...]
    decoder: msgspec.json.Decoder[Any] | None
    body_may_be_empty: bool
    query_lists: frozenset[str]
    query_maps: frozenset[str]
    query_integers: frozenset[str]
    seconds: Histogram
    by_status: dict[int, Counter] = field(default_factory=dict)

    @classmethod
    def of(cls, route: Route) -> Endpoint:
        """Prepares a route."""
        fields = () if route.body is None else msgspec.structs.fields(route.body)
        return cls(
            route,
            tuple(re.findall(r"\{([^}]+)\}", route.path)),
            None if route.body is None or route.raw else msgspec.json.Decoder(route.body),
            not any(one.required for one in fields),
            frozenset() if route.query is None else _fields_of(route.query, (list, tuple, set, frozenset)),
            frozenset() if route.query is None else _fields_of(route.query, (dict,)),
            frozenset() if route.query is None else _fields_of(route.query, (int,)),
            SECONDS.labels(route.method, route.path),
        )

    def observe(self, status: int, seconds: float) -> None:
        """Counts an answer."""
        counter = self.by_status.get(status)
        if counter is None:
            counter = self.by_status[status] = REQUESTS.labels(self.route.method, self.route.path, str(status))
        counter.inc()
        self.seconds.observe(seconds)


@dataclass(slots=True)
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    endpoints: dict[str, Endpoint] = field(default_factory=dict)


class RouteTable:
    """Finds endpoints segment by segment; a literal segment wins over a parameter."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.strip("/").split("/"):
                if segment.startswith("{"):
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.literal.setdefault(segment, _Node())
            if route.method in node.endpoints:
                raise ValueError(f"{route.method} {route.path} is declared twice")
            node.endpoints[route.method] = Endpoint.of(route)

    def find(self, method: str, raw_path: bytes) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint and its path parameters. raw_path: still percent-encoded, so that an id may hold a slash.

        Raises Problem not_found, method_not_allowed (with the extension `allow`), uri_too_long or invalid_parameter.
        """
        if len(raw_path) > MAX_PATH_BYTES:
            raise Problem("uri_too_long", f"A path has at most {MAX_PATH_BYTES} bytes.")
        segments = raw_path.split(b"/")[1:]
        values: list[bytes] = []
        node = self._walk(self._root, segments, 0, values)
        if node is None:
            raise Problem("not_found", "There is nothing at this path.")
        endpoint = node.endpoints.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            allowed = sorted({*node.endpoints, *(["HEAD"] if "GET" in node.endpoints else [])})
            raise Problem("method_not_allowed", f"This path takes {', '.join(allowed)}.", allow=allowed)
        return endpoint, {name: _path_value(name, raw) for name, raw in zip(endpoint.names, values, strict=True)}

    def _walk(self, node: _Node, segments: list[bytes], at: int, values: list[bytes]) -> _Node | None:
        if at == len(segments):
            return node if node.endpoints else None
        segment = segments[at]
        literal = node.literal.get(segment.decode("latin-1"))
        if literal is not None:
            found = self._walk(literal, segments, at + 1, values)
            if found is not None:
                return found
        if node.parameter is None or not segment:
            return None
        values.append(segment)
        found = self._walk(node.parameter, segments, at + 1, values)
        if found is None:
            values.pop()
        return found


def _path_value(name: str, raw: bytes) -> str:
    data = unquote_to_bytes(raw) if b"%" in raw else raw
    try:
        value = data.decode()
    except UnicodeDecodeError as failure:
        raise Problem("invalid_request", "The path is not valid UTF-8.", param=name) from failure
    if len(data) > MAX_PARAMETER_BYTES:
        raise Problem("invalid_parameter", f"{name} has at most {MAX_PARAMETER_BYTES} bytes.", param=name)
    if _CONTROL.search(value):
        raise Problem("invalid_parameter", f"{name} has a control character.", param=name)
    return value


def decode_query(endpoint: Endpoint, raw: bytes) -> Any:
    """The query struct of a route; None if it takes no parameters. Raises Problem invalid_parameter, unknown_field or invalid_request."""
    kind = endpoint.route.query
    if not raw:
        if kind is None:
            return None
        pairs: list[tuple[str, str]] = []
    else:
        if len(raw) > MAX_QUERY_BYTES:
            raise Problem("uri_too_long", f"A query has at most {MAX_QUERY_BYTES} bytes.")
        try:
            pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError as failure:
            raise Problem("invalid_request", "The query string is malformed.") from failure
    values: dict[str, Any] = {}
    for name, value in pairs:
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise Problem("invalid_parameter", "A query parameter has a control character.", param=_CONTROL.sub("", name)[:64])
        group, dot, key = name.partition(".")
        if dot and group in endpoint.query_maps:
            # `dimension.model=gpt-4o` goes into the field `dimension`, under `model`.
            entries = values.setdefault(group, {})
            if not isinstance(entries, dict) or not key or key in entries:
                raise Problem("invalid_parameter", f"{name} has no name, or is given twice.", param=name[:64])
            entries[key] = value
        elif name in endpoint.query_lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Problem("invalid_parameter", f"{name} is given twice.", param=name)
        elif name in endpoint.query_integers and _INTEGER.fullmatch(value) is None:
            # The conversion below would take "1e2" and " 7" for numbers, too.
            raise Problem("invalid_parameter", f"{name} is a whole number.", param=name)
        else:
            values[name] = value
    if kind is None:
        name = next(iter(values), "")
        raise Problem("unknown_field", f"This path takes no parameter {name!r}.", param=name[:64] or None)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as failure:
        raise _not_valid(failure, "invalid_parameter") from failure


def decode_body(endpoint: Endpoint, raw: bytes) -> Any:
    """The body struct of a route. Raises Problem malformed_json (400), or invalid_body, unknown_field, missing_field (422)."""
    if endpoint.decoder is None:
        if raw.strip() in (b"", b"{}"):
            return None
        raise Problem("unknown_field", "This request takes no body.")
    if not raw and endpoint.body_may_be_empty:
        raw = b"{}"
    try:
        body = endpoint.decoder.decode(raw)
        if b"\\u0000" in raw and _has_nul(msgspec.json.decode(raw)):
            raise Problem("invalid_body", "A text holds the character U+0000, which cannot be stored.")
        refuse_repeated_names(raw)
    except msgspec.ValidationError as failure:
        # What is not JSON further on, such as a number out of range, is reported as such.
        _check_syntax(raw)
        raise _not_valid(failure, "invalid_body") from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise malformed(failure) from failure
    return body


def malformed(failure: Exception) -> Problem:
    """The refusal of bytes that are not JSON."""
    if isinstance(failure, RecursionError):
        return Problem("malformed_json", "The JSON is nested too deeply.")
    return Problem("malformed_json", f"The body is not valid JSON: {failure}"[:300])


def _check_syntax(raw: bytes) -> None:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise malformed(failure) from failure


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return False


def _not_valid(failure: msgspec.ValidationError, otherwise: str) -> Problem:
    text = str(failure)
    place = _PLACE.search(text)
    path = place.group(1) if place else ""
    sentence = text[: place.start()] if place else text
    if sentence.startswith(("Object contains unknown field", "Object missing required field")):
        name = _FIELD.search(sentence)
        param = ".".join(part for part in (path, name.group(1) if name else "") if part)
        unknown = sentence.startswith("Object contains")
        return Problem("unknown_field" if unknown else "missing_field", sentence[:200] + ".", param=param[:200] or None)
    return Problem(otherwise, sentence[:300] + ".", param=path[:200] or None)


def _fields_of(kind: type, types: tuple[type, ...]) -> frozenset[str]:
    """The names on the wire of the fields of one of these types, optional or not."""
    hints = get_type_hints(kind)
    names = set()
    for one in msgspec.structs.fields(kind):
        options = [hints[one.name]]
        if get_origin(options[0]) in (Union, UnionType):
            options = list(get_args(options[0]))
        if any((get_origin(option) or option) in types for option in options):
            names.add(one.encode_name)
    return frozenset(names)
