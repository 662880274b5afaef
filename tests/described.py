"""The API's document as a judge of requests and answers: JSON Schema, with formats, and nothing in an answer that is not described."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import jsonschema_rs


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document."""

    method: str
    path: str
    words: dict[str, Any]


class Described:
    """A document, by the ids of its operations."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = {
            words["operationId"]: Operation(method.upper(), path, words)
            for path, item in document["paths"].items()
            for method, words in item.items()
        }
        self._loose = document["components"]
        self._strict = copy.deepcopy(self._loose)
        for name, schema in self._strict["schemas"].items():
            if name != "Problem" and "properties" in schema:
                schema.setdefault("additionalProperties", False)

    def request(self, operation: str, body: Any) -> None:
        """Fails unless this is a body that the operation takes."""
        content = self.operations[operation].words.get("requestBody")
        if content is None:
            assert body is None, f"{operation} takes no body"
        else:
            self._judge(f"the request of {operation}", content["content"]["application/json"]["schema"], body, self._loose)

    def answer(self, operation: str, status: int, body: Any) -> None:
        """Fails unless this is an answer that the operation gives with this status."""
        response = self.operations[operation].words["responses"].get(str(status))
        assert response is not None, f"{operation} does not describe {status}: {body}"
        (content,) = response["content"].values()
        self._judge(f"the answer {status} of {operation}", content["schema"], body, self._strict)

    def _judge(self, what: str, schema: dict[str, Any], body: Any, components: dict[str, Any]) -> None:
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": components}, validate_formats=True)
        faults = [f"{'/'.join(map(str, fault.instance_path))}: {fault.message}" for fault in validator.iter_errors(body)]
        assert not faults, f"{what} is not as described: {faults[:5]}"
