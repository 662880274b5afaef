"""Reading the JSON of onboarding and control: every member known, of its type and within bounds."""

from __future__ import annotations

import json
import math
from typing import Any

from buffmoney.simulator.fen import parse_yuan


class ControlError(Exception):
    """A request that means nothing. message: for people."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Body:
    """A JSON object whose every member must be asked for."""

    def __init__(self, content: bytes) -> None:
        try:
            found = json.loads(content or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ControlError("The body must be a JSON object.", 400)
        self._content: dict[str, Any] = found
        self._asked: set[str] = set()

    def raw(self, name: str, default: Any = None) -> Any:
        """A member as it is."""
        self._asked.add(name)
        return self._content.get(name, default)

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> Any:
        """One of some words."""
        found = self.raw(name, default)
        if found not in choices:
            raise ControlError(f"{name} must be one of {', '.join(choices)}.")
        return found

    def text(self, name: str) -> str | None:
        """A text or nothing."""
        found = self.raw(name)
        if found is not None and (not isinstance(found, str) or len(found) > 1_000):
            raise ControlError(f"{name} must be a text.")
        return found

    def number(self, name: str, default: float, lowest: float, highest: float) -> float:
        """A number within bounds."""
        found = self.raw(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or not lowest <= found <= highest:
            raise ControlError(f"{name} must be a number from {lowest:g} to {highest:g}.")
        return float(found)

    def fen(self, name: str) -> int | None:
        """An amount in yuan, as a text with at most two decimals, in fen; None for null."""
        found = self.raw(name)
        if found is None:
            return None
        fen = parse_yuan(found)
        if fen is None:
            raise ControlError(f'{name} must be yuan with at most two decimals, for example "12.50".')
        return fen

    def end(self) -> None:
        """Refuses what nobody asked for."""
        if unknown := set(self._content) - self._asked:
            raise ControlError(f"Unknown: {', '.join(sorted(unknown))}.")
