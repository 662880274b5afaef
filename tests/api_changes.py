"""What would break a client of the API: the differences between two documents that are more than additions.

`python -m tests.api_changes` keeps the document of now as the released one, against which tests/unit/test_openapi.py compares. It is run
with a release, or when an incompatible change is meant.

A request may be asked for less and be given more freedom, an answer may say more and be more exact; everything else breaks somebody:
routes, parameters and fields that are gone, another type, a field that is required now or in an answer no longer is, a value that is no
longer taken or known, a limit that is narrower. New fields, routes, values and error codes are additions; an error code that is gone, or
has another status or another `retryable`, is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from buffmoney.edge import openapi
from buffmoney.edge.app import ROUTES
from tests.product import ROOT

RELEASED = ROOT / "tests" / "data" / "openapi.released.json"
_WORDS = frozenset({"description", "summary", "example", "headers", "tags", "title", "contact"})
_UPPER = ("maxLength", "maximum", "maxItems")
_LOWER = ("minLength", "minimum", "minItems")

Schema = dict[str, Any]


def current() -> dict[str, Any]:
    """The document of now."""
    return openapi.document(tuple(route for route in ROUTES if route.documented))


def skeleton(document: Any) -> Any:
    """A document without its words and its failures: what of it is compared."""
    if isinstance(document, list):
        return [skeleton(one) for one in document]
    if not isinstance(document, dict):
        return document
    kept = {}
    for name, value in document.items():
        if name == "properties":
            # A field may be called `description`: only what stands beside a schema's fields is a word.
            kept[name] = {field: skeleton(of) for field, of in value.items()}
        elif name == "responses":
            kept[name] = {status: skeleton(answer) for status, answer in value.items() if status.startswith("2")}
        elif name not in _WORDS:
            kept[name] = skeleton(value)
    return kept


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Every incompatible difference, one sentence each."""
    return list(dict.fromkeys(_Comparison(old, new).run()))


class _Comparison:
    def __init__(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        self.old, self.new = old, new
        self.seen: set[tuple[str, str, bool]] = set()

    def run(self) -> Iterator[str]:
        for path, item in self.old["paths"].items():
            for method, operation in item.items():
                where = f"{method.upper()} {path}"
                now = self.new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{where} is gone"
                else:
                    yield from self._operation(where, operation, now)
        for code, example in self.old["components"]["examples"].items():
            now = self.new["components"]["examples"].get(code)
            if now is None:
                yield f"the error code {code} is gone"
                continue
            for name in ("status", "retryable"):
                if example["value"][name] != now["value"][name]:
                    yield f"{name} of the error code {code} was {example['value'][name]} and is {now['value'][name]}"

    def _operation(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{where}: the operation was called {old['operationId']} and is called {new['operationId']}"
        if new.get("security") != old.get("security"):
            yield f"{where}: it needs another authorization"
        yield from self._parameters(where, self._listed(self.old, old), self._listed(self.new, new))
        yield from self._body(where, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            if not status.startswith("2"):
                continue
            if status not in new["responses"]:
                yield f"{where}: it no longer answers {status}"
                continue
            for kind, content in answer["content"].items():
                now = new["responses"][status]["content"].get(kind)
                if now is None:
                    yield f"{where}: the answer is no longer {kind}"
                else:
                    yield from self._schema(f"{where}: the answer", content["schema"], now["schema"], request=False)

    def _listed(self, document: Schema, operation: Schema) -> dict[str, Schema]:
        found = [self._resolved(document, parameter) for parameter in operation["parameters"]]
        return {f"{parameter['in']} parameter {parameter['name']}": parameter for parameter in found}

    def _parameters(self, where: str, old: dict[str, Schema], new: dict[str, Schema]) -> Iterator[str]:
        for name, parameter in old.items():
            if name not in new:
                yield f"{where}: the {name} is gone"
                continue
            if new[name]["required"] and not parameter["required"]:
                yield f"{where}: the {name} is required now"
            yield from self._schema(f"{where}: the {name}", parameter["schema"], new[name]["schema"], request=True)
        for name, parameter in new.items():
            if name not in old and parameter["required"]:
                yield f"{where}: the {name} is new and required"

    def _body(self, where: str, old: Schema | None, new: Schema | None) -> Iterator[str]:
        if old is None and new is not None and new["required"]:
            yield f"{where}: a body is required now"
        if old is None:
            return
        if new is None:
            yield f"{where}: it no longer takes a body"
            return
        if new["required"] and not old["required"]:
            yield f"{where}: the body is required now"
        for kind, content in old["content"].items():
            if kind not in new["content"]:
                yield f"{where}: it no longer takes {kind}"
            else:
                yield from self._schema(f"{where}: the body", content["schema"], new["content"][kind]["schema"], request=True)

    def _schema(self, where: str, old: Schema, new: Schema, *, request: bool) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            met = (old["$ref"], new["$ref"], request)
            if met in self.seen:
                return
            self.seen.add(met)
            where = f"{where}: {old['$ref'].rpartition('/')[2]}"
        before, after = self._by_type(self.old, old), self._by_type(self.new, new)
        # Whoever sends an integer may also send it where any number is taken.
        gone = before.keys() - after.keys() - ({"integer"} if "number" in after else set()) if "any" not in after else set()
        added = after.keys() - before.keys() if "any" not in before else set()
        for kind in sorted(gone if request else added):
            yield f"{where} {'no longer takes' if request else 'may now be'} {kind}"
        for kind in before.keys() & after.keys():
            yield from self._one_type(where, before[kind], after[kind], request=request)

    def _one_type(self, where: str, old: Schema, new: Schema, *, request: bool) -> Iterator[str]:
        if "enum" in old and "enum" in new:
            for value in sorted(set(map(str, old["enum"])) - set(map(str, new["enum"]))):
                yield f"{where}: the value {value} is gone"
        elif ("enum" in new and request) or ("enum" in old and not request):
            yield f"{where}: the values it may have are {'fixed now' if request else 'no longer fixed'}"
        if request:
            yield from _narrower(where, old, new)
        for name in ("format", "pattern", "const"):
            # A form that an answer does not have any more, or a request must have now.
            if old.get(name) != new.get(name) and (name in new if request else name in old):
                yield f"{where}: the {name} was {old.get(name)} and is {new.get(name)}"
        yield from self._fields(where, old, new, request=request)
        if "items" in old:
            yield from self._schema(f"{where}[]", old["items"], new.get("items", {}), request=request)
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from self._schema(f"{where}.*", before, after, request=request)
        elif after is False and before is not False and request:
            yield f"{where}: fields of other names are no longer taken"
        elif isinstance(before, dict) and not request:
            yield f"{where}: the values of its fields are no longer described"

    def _fields(self, where: str, old: Schema, new: Schema, *, request: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{where}.{name} is gone"
                continue
            was, now = name in old.get("required", ()), name in new.get("required", ())
            if request and now and not was:
                yield f"{where}.{name} is required now"
            if not request and was and not now:
                yield f"{where}.{name} may be absent now"
            yield from self._schema(f"{where}.{name}", schema, after[name], request=request)
        if request:
            for name in sorted(set(new.get("required", ())) - before.keys()):
                yield f"{where}.{name} is new and required"

    def _by_type(self, document: Schema, schema: Schema) -> dict[str, Schema]:
        """What a schema may be, by type; `any` where it does not say."""
        schema = self._resolved(document, schema)
        found: dict[str, Schema] = {}
        for option in schema.get("anyOf", ()):
            found |= self._by_type(document, option)
        kinds = schema.get("type", [] if found else ["any"])
        return found | dict.fromkeys([kinds] if isinstance(kinds, str) else kinds, schema)

    def _resolved(self, document: Schema, schema: Schema) -> Schema:
        while "$ref" in schema:
            found = document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema


def _narrower(where: str, old: Schema, new: Schema) -> Iterator[str]:
    for name in (*_UPPER, *_LOWER):
        if name not in new:
            continue
        worse = name not in old or (new[name] < old[name] if name in _UPPER else new[name] > old[name])
        if worse and not (name in _LOWER and new[name] == 0):
            yield f"{where}: {name} was {old.get(name, 'not set')} and is {new[name]}"


def main() -> None:
    """Keeps the document of now as the released one."""
    document = current()
    changes = breaking(json.loads(RELEASED.read_text()), document) if RELEASED.exists() else []
    RELEASED.write_text(json.dumps(skeleton(document), indent=1, sort_keys=True) + "\n")
    print("\n".join([*changes, f"{len(changes)} incompatible changes; {RELEASED} is the document of now."]))


if __name__ == "__main__":
    main()
