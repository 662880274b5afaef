"""What commands share: where settings, the API's address and its key come from, how to speak to it, and how to print."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

from cyclopts import Parameter

if TYPE_CHECKING:
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Connection

T = TypeVar("T")

DataDir = Annotated[
    Path | None, Parameter(name="--data-dir", help="Where `up` keeps its data. Else BUFFMONEY_DATA_DIR, else a directory of this user.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]
Url = Annotated[str | None, Parameter(name="--url", help="Address of the API. Else BUFFMONEY_URL, else that of the `up` on this machine.")]
ApiKey = Annotated[str | None, Parameter(name="--api-key", help="API key. Else BUFFMONEY_API_KEY.")]


def fail(message: str) -> NoReturn:
    """Ends the process with a message for people."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)


def settings_of(data_dir: Path | None = None, **changes: object) -> Settings:
    """The settings of this process. data_dir goes before the environment. Raises SettingsError."""
    from buffmoney.base.config import Settings

    environment = dict(os.environ)
    if data_dir is not None:
        environment["BUFFMONEY_DATA_DIR"] = str(data_dir)
    return Settings.from_environment(environment).replace(**changes)


def say(text: str = "") -> None:
    """One line of output."""
    sys.stdout.write(text + "\n")


def say_json(content: Any) -> None:
    """One JSON document of output."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(content).decode() + "\n")


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table. Nothing in it is cut off: what does not fit a terminal's line goes on in the next one."""
    from buffmoney.base import tables

    tables.show(headings, rows)


def address(url: str | None, api_key: str | None) -> tuple[str, str]:
    """The API's address and key, from the flags, the environment, or the `up` on this machine. Raises SettingsError."""
    from buffmoney.base.config import Settings, SettingsError, read_run_file

    found = url or os.environ.get("BUFFMONEY_URL") or str(read_run_file(Settings.from_environment().data_dir).get("url", ""))
    if not found:
        raise SettingsError("There is no address of an API: start `buffmoney up`, or give --url or BUFFMONEY_URL.")
    return found.rstrip("/"), api_key_of(api_key)


def api_key_of(api_key: str | None) -> str:
    """The API key, from the flag or the environment. Raises SettingsError."""
    from buffmoney.base.config import SettingsError

    key = api_key or os.environ.get("BUFFMONEY_API_KEY")
    if not key:
        raise SettingsError("There is no API key: give --api-key or BUFFMONEY_API_KEY. `buffmoney merchants create` prints two.")
    return key


def as_owner(work: Callable[[Connection, Settings], Awaitable[T]], data_dir: Path | None = None) -> T:
    """Does something in one transaction of the schema's owner."""
    from buffmoney.base.database import connect

    settings = settings_of(data_dir).complete()

    async def task() -> T:
        connection = await connect(settings, None, name="buffmoney command")
        try:
            async with connection.transaction():
                return await work(connection, settings)
        finally:
            await connection.close()

    return asyncio.run(task())


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts by name. Raises ValueError."""
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise ValueError(f"{flag} takes NAME=VALUE, not {text!r}")
        if name in found:
            raise ValueError(f"{flag} names {name!r} twice")
        found[name] = value
    return found


def event_path(key: str) -> str:
    """The path of an event. A key of dots alone would be taken for a step in the path."""
    from urllib.parse import quote

    return f"/v1/usage-events/{quote(key, safe='').replace('.', '%2E')}"


def payer_of(part: dict[str, Any]) -> str:
    """Who paid a part of a charge, or got it back: a grant, or what stands for one."""
    if part["grantId"]:
        return str(part["grantId"])
    return "unbilled" if part.get("account") == "customer_unbilled" else "overdraft"


def request(
    method: str, path: str, url: str | None, api_key: str | None, body: bytes | None = None, *, timeout_s: float = 30
) -> dict[str, Any]:
    """One request to the API. Ends the process with the problem's detail unless it succeeds."""
    import httpx

    base, key = address(url, api_key)
    headers = {"Authorization": f"Bearer {key}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        answer = httpx.request(method, base + path, content=body, headers=headers, timeout=timeout_s)
    except httpx.HTTPError as failure:
        fail(f"{base} does not answer: {failure}")
    try:
        content = answer.json()
    except json.JSONDecodeError:
        content = {}
    if not answer.is_success:
        param = f" ({content['param']})" if content.get("param") else ""
        fail(f"{content.get('detail') or answer.text[:500]}{param} [{content.get('code') or answer.status_code}]")
    result: dict[str, Any] = content
    return result
