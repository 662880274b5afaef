"""Seeing what a process does: JSON logs with request ids and without secrets, and Prometheus metrics.

Logs go to standard error, one JSON object a line. Edges serve `/metrics` themselves; core and worker through `serve_metrics`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

REDACTED = "[redacted]"
_SECRET_NAMES = frozenset(
    {
        "authorization",
        "api_key",
        "apikey",
        "x-api-key",
        "password",
        "secret",
        "pepper",
        "token",
        "cookie",
        "set-cookie",
        "database_url",
        "redis_url",
    }
)
# The shown prefix of a key stays: it is how people find the key. Passwords in URLs go.
_KEY = re.compile(r"(bm_(?:live|test)_[0-9A-Za-z]{8})[0-9A-Za-z]+")
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")
_BEARER = re.compile(r"(?i)(bearer\s+)(?!bm_)\S+")


def configure_logging(process: str, *, level: str = "INFO") -> None:
    """Sets logging up for a process (`edge`, `core`, `worker`, …). Call once, before anything logs."""
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_process(process),
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module: the same form, and only what is worth a look.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_process(process),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `module: name`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return bound


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: drops the values of fields that are named like secrets, and secrets inside of other values."""
    for name, value in event.items():
        event[name] = REDACTED if name.lower() in _SECRET_NAMES else _without_secrets(value)
    return event


def without_keys(text: str) -> str:
    """A text in which no API key can be read: of each its shown prefix is left."""
    return _KEY.sub(r"\1…", text)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        if "bm_" in value or "://" in value or "earer" in value or "EARER" in value:
            value = without_keys(value)
            value = _URL_PASSWORD.sub(rf"\1{REDACTED}@", value)
            value = _BEARER.sub(rf"\1{REDACTED}", value)
        return value
    if isinstance(value, bytes):
        return _without_secrets(value.decode(errors="replace"))
    if isinstance(value, Mapping):
        return {
            name: REDACTED if isinstance(name, str) and name.lower() in _SECRET_NAMES else _without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _without_secrets(str(value))


def _add_process(process: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return add


def metrics_text() -> tuple[bytes, str]:
    """The process's metrics in Prometheus' text form, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


async def serve_metrics(port: int, *, host: str = "127.0.0.1", ready: Callable[[], bool] | None = None) -> asyncio.Server:
    """A small HTTP server on the running loop: `/metrics`, and `/readyz` (200 or 503) if `ready` is given. Port 0: any free one.

    Raises OSError if the port is taken. Close the server to stop it.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(5):
                request = await reader.readuntil(b"\r\n\r\n")
                status, content_type, body = _respond(request.split(b" ", 2)[1:2], ready)
                head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host, port, limit=16_384)


def _respond(path: list[bytes], ready: Callable[[], bool] | None) -> tuple[str, str, bytes]:
    if path == [b"/metrics"]:
        body, content_type = metrics_text()
        return "200 OK", content_type, body
    if path == [b"/readyz"] and ready is not None:
        return ("200 OK", "text/plain", b"ready\n") if ready() else ("503 Service Unavailable", "text/plain", b"not ready\n")
    return "404 Not Found", "text/plain", b"not found\n"
