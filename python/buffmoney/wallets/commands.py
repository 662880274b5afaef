"""A wallet command's way to the core and back: what it refused becomes a Problem."""

from __future__ import annotations

from typing import Any

from buffmoney.base.errors import CODES, Problem
from buffmoney.base.http import Call

_API_CODES = {"invalid_grant_kind": "invalid_kind", "expired_grant": "invalid_expiry"}
"""the core's words for what the edge checks too, where the two differ"""


async def run(call: Call, command: dict[str, object], section: bytes = b"") -> dict[str, Any]:
    """The core's answer to a command, without its `ok`. Raises Problem: the refusal, or 503 as `CommandBus.command`."""
    reply = await call.services.commands.command(call.tenant, command, section)
    if reply.pop("ok", False):
        return reply
    code = str(reply.get("code", ""))
    code = _API_CODES.get(code, code)
    detail = str(reply.get("detail", ""))
    sentence = f"{detail[:1].upper()}{detail[1:]}." if detail and not detail.endswith(".") else detail
    if code not in CODES:
        raise Problem("invalid_body", sentence, refusal=code)
    # One answer for everything that does not exist, whoever it belongs to.
    raise Problem(code, "" if CODES[code].status == 404 else sentence)
