"""What a package says about an HTTP route, and what a handler gets and gives back.

A package's `api.py` exports `ROUTES: tuple[Route, ...]`; the edge turns them into the route table and into OpenAPI.
Wire structs are msgspec Structs with `rename="camel", forbid_unknown_fields=True`; amounts and quantities are decimal
strings. A handler raises `base.errors.Problem` for everything that is not a success.

Not everything that an edge serves is JSON for programs: a route may take another content type, answer with one, and show failures as
a page.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from buffmoney import _core
from buffmoney.base.errors import Problem
from buffmoney.base.turnstile import Turnstile
from buffmoney.base.wire import Mode

if TYPE_CHECKING:
    import asyncpg
    import httpx

    from buffmoney.base.clock import Clock
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Database
    from buffmoney.base.redis import RedisPipe

_ENCODER = msgspec.json.Encoder()

MessageBuilder = Callable[[bytes, bytes, bool], bytes]
"""(message id of 16 bytes, reply_to, redelivered) -> inbox message. Called again for every redelivery."""


class Tenant(msgspec.Struct, frozen=True):
    """Whose key the request carries: a merchant in one mode. `mode` is `sandbox` or `live`."""

    tenant_id: int
    merchant_id: str
    mode: Mode
    partition_id: int
    currency: str
    key_id: str


class CommandBus(Protocol):
    """The way to the core of a tenant's partition.

    In an edge it is `metering.inbox.Inbox`. Both methods raise Problem 429 `overloaded`, 503 `shutting_down`, `core_unavailable` or
    `redis_unavailable` (nothing was done), or 503 `outcome_unknown` (it may have been done: repeat with the same keys to learn it).
    """

    async def command(
        self, tenant: Tenant, command: dict[str, object], section: bytes = b"", message_id: bytes | None = None
    ) -> dict[str, Any]:
        """Sends a wallet command and gives the core's reply, `{"ok": true, …}` or `{"ok": false, "code", "detail"}`.

        section: the usage section of a `DecodedBatch`, for commands that carry events. message_id: 16 bytes, random if None.
        """
        ...

    async def usage(self, tenant: Tenant, message: MessageBuilder) -> bytes:
        """Sends a usage message and gives the body of the core's reply, for `DecodedBatch.answer`."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What every handler of an edge shares. `redis` must be treated as optional: it may be down or empty at any moment."""

    settings: Settings
    clock: Clock
    database: Database
    redis: RedisPipe
    bulk_redis: RedisPipe
    """for look-ups of hundreds of keys at once: a connection of their own, so that a balance does not queue behind them"""
    commands: CommandBus
    http: httpx.AsyncClient
    """for others' servers: time-outs set, no redirects, no proxies of the environment"""
    turn: Turnstile = field(default_factory=Turnstile)
    """for steps that keep the event loop busy for long"""


@dataclass(slots=True)
class Call:
    """One authenticated request, its parameters already decoded and validated."""

    services: Services
    route: Route
    request_id: str
    path: dict[str, str]
    """path parameters, percent-decoded"""
    query: Any = None
    """an instance of `route.query`"""
    body: Any = None
    """an instance of `route.body`; None for a route with `raw=True`"""
    raw_body: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    """the request's headers by lower-case name; of a repeated one the last"""
    peer: str = ""
    """the IP address at the other end of the connection; see `client_ip`"""
    idempotency_key: str | None = None
    authenticated: Tenant | None = None
    connection: asyncpg.Connection[asyncpg.Record] | None = None
    """the open transaction of a route with idempotency="stored"; use `transaction()`"""
    after_commit: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """what the edge runs once the transaction of a route with idempotency="stored" is durable, before it answers; must not raise"""

    @property
    def tenant(self) -> Tenant:
        """The tenant of the API key. Only public routes have none."""
        if self.authenticated is None:
            raise RuntimeError(f"{self.route.method} {self.route.path} is public and has no tenant")
        return self.authenticated

    def command_id(self) -> str:
        """32 hexadecimal digits that name a wallet command: the same for every repetition with the same Idempotency-Key.

        Without the header it is random, so that a repetition counts as another command.
        """
        if self.idempotency_key is None:
            return secrets.token_hex(16)
        name = f"{self.route.method} {self.route.path}\0{self.idempotency_key}"
        return _core.key_hash(self.tenant.tenant_id, name).hex()

    def header(self, name: bytes) -> str:
        """A header's value, empty if it is absent. name: lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def client_ip(self) -> str:
        """The address from which the request came, empty if it is not known.

        A connection from a private address comes from a proxy of ours: then it is the last address of X-Forwarded-For, the one that this
        proxy has seen itself. What stands before it anybody may have written.
        """
        try:
            peer = ipaddress.ip_address(self.peer)
            if not peer.is_private:
                return str(peer)
            return str(ipaddress.ip_address(self.header(b"x-forwarded-for").rpartition(",")[2].strip()))
        except ValueError:
            return self.peer

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A transaction that sees only this tenant.

        For idempotency="stored" it is the one in which the answer will be stored, so the effect and its answer commit together.
        """
        if self.connection is not None:
            yield self.connection
            return
        async with self.services.database.tenant(self.tenant.tenant_id) as connection:
            yield connection


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. content: a Struct to encode, or ready bytes. status: None for the route's own.

    headers: names in lower case; `cache-control` replaces the edge's own `no-store`. content_type: of ready bytes that are not JSON.
    """

    content: msgspec.Struct | bytes
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def encode(self) -> bytes:
        """The body."""
        return self.content if isinstance(self.content, bytes) else _ENCODER.encode(self.content)


def refuse_repeated_names(body: bytes) -> None:
    """Refuses JSON in which an object names a field twice: readers take the first or the last of them, and it may be an amount.

    Raises Problem invalid_body, or malformed_json.
    """
    try:
        path = _core.repeated_name(body)
    except ValueError as failure:
        raise Problem("malformed_json", f"The body is not valid JSON: {failure}.") from None
    if path is not None:
        name = path.encode(errors="backslashreplace").decode()[:200]
        raise Problem("invalid_body", f"{name} is named twice: a JSON object names each field once.", param=name)


async def tell_core(call: Call, version: int) -> None:
    """Lets the core take a new version of the tenant's catalogue, and comes back when it has."""
    # Only to be quick: without it the core finds the new version at its next look, so a core that is away is no failure.
    try:
        await call.services.commands.command(call.tenant, {"type": "catalog", "version": version})
    except Problem:
        return


Handler = Callable[[Call], Awaitable[Answer]]
Refusal = Callable[[Problem, Mapping[bytes, bytes], str], Answer]
"""(problem, the request's headers, request id) -> how a failure is shown in place of problem+json. Must not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of the API.

    path: OpenAPI template, e.g. `/v1/customers/{externalId}/grants`; a parameter matches one path segment.
    body, query: Structs to decode into, None for none. Query fields are strings on the wire and are converted.
    answer: the Struct of a success, for the schema. errors: codes of `base.errors` that the handler itself may raise;
    the edge adds what it raises (authentication, limits, decoding).
    idempotency: "command" for wallet commands (the handler passes `call.command_id()`), "stored" for other POSTs (the edge
    stores the first answer in the handler's transaction), "events" where each event of the body carries its own key and the header is
    refused, "none" where a repetition does no more than the first or nothing is written.
    raw: the handler takes `call.raw_body`; `body` is then only the schema. takes: the content type of the body, "*" for any.
    large_body: it may have several times as many bytes as others.
    documented: whether it stands in OpenAPI. refusal: how failures are shown, here and on the unknown paths whose first segment is that
    of `path`; None for problem+json.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    answer: type
    description: str = ""
    body: type | None = None
    query: type | None = None
    status: int = 200
    errors: tuple[str, ...] = ()
    idempotency: Literal["command", "stored", "events", "none"] = "none"
    public: bool = False
    raw: bool = False
    large_body: bool = False
    takes: str = "application/json"
    documented: bool = True
    refusal: Refusal | None = None
