"""The edge as an ASGI application: `create_app()`.

Plain ASGI without a stack of middleware, because at thousands of requests a second each layer would be felt. The checks come in the
order of their cost: path, API key, headers, room, body, handler.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from buffmoney.audit.api import ROUTES as AUDIT_ROUTES
from buffmoney.base import telemetry
from buffmoney.base.clock import Clock, SystemClock
from buffmoney.base.config import Settings
from buffmoney.base.database import Database
from buffmoney.base.errors import Problem
from buffmoney.base.http import Call, Route, Services
from buffmoney.base.ids import new_request_id
from buffmoney.base.redis import RedisPipe
from buffmoney.collection import checkout, paying
from buffmoney.collection.api import ROUTES as COLLECTION_ROUTES
from buffmoney.collection.polling import channel_client
from buffmoney.edge import limits, openapi, reference
from buffmoney.edge.auth import Authenticator
from buffmoney.edge.health import Readiness
from buffmoney.edge.idempotency import StoredAnswers, parse_key, refuse_key
from buffmoney.edge.reference import Reference
from buffmoney.edge.routing import Endpoint, RouteTable, decode_body, decode_query
from buffmoney.merchants.api import ROUTES as MERCHANT_ROUTES
from buffmoney.metering.api import ROUTES as METERING_ROUTES
from buffmoney.metering.inbox import Inbox
from buffmoney.metering.watch import PartitionWatch
from buffmoney.pricing.api import ROUTES as PRICING_ROUTES
from buffmoney.pricing.assignments import ROUTES as ASSIGNMENT_ROUTES
from buffmoney.pricing.simulation import ROUTES as SIMULATION_ROUTES
from buffmoney.wallets.api import ROUTES as WALLET_ROUTES

ROUTES: tuple[Route, ...] = (
    *METERING_ROUTES,
    *WALLET_ROUTES,
    *PRICING_ROUTES,
    *ASSIGNMENT_ROUTES,
    *SIMULATION_ROUTES,
    *COLLECTION_ROUTES,
    *checkout.routes(paying),
    *MERCHANT_ROUTES,
    *AUDIT_ROUTES,
)
"""Every operation of the API."""

READ_TIMEOUT_S = 1.0
"""How long a look into Redis may take before PostgreSQL is asked instead."""
DATABASE_CONNECTIONS = 12
HOLD_BACK_S = 0.1
"""How long a 429 or 503 is kept back before it is sent …"""
MAX_HELD_BACK = 1_000
"""… if not too many of them are waiting already."""
_JSON = b"application/json"
_PROBLEM = b"application/problem+json"

_log = telemetry.logger("edge")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    content_type: bytes
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Running:
    """What exists between start-up and shutdown."""

    services: Services
    watch: PartitionWatch
    inbox: Inbox
    authenticator: Authenticator
    answers: StoredAnswers
    readiness: Readiness


class Edge:
    """The ASGI application."""

    def __init__(self, settings: Settings, routes: tuple[Route, ...] = ROUTES, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._table = RouteTable(routes)
        document = openapi.document(tuple(route for route in routes if route.documented))
        self._openapi = _encode(document)
        self._reference = Reference(document, openapi.examples())
        self._told = {(route.method, route.path): frozenset(openapi.error_codes(route)) for route in routes if route.documented}
        self._refusals = {route.path.split("/", 2)[1].encode(): route.refusal for route in routes if route.refusal is not None}
        self._bodies = limits.BodyReader(settings.body_timeout_s)
        self._large = limits.Budget(limits.LARGE_BODIES)
        self._batches = limits.Budget(settings.max_inflight_batches)
        self._system: dict[bytes, Callable[[str], Awaitable[_Response]]] = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/metrics": self._metrics,
            b"/api/openapi": self._describe,
            **{address.encode(): partial(self._refer, address) for address in self._reference.addresses},
        }
        self._held_back = 0
        self._farewell = False
        self._running: _Running | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's one entry."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    # ------------------------------------------------------------------ lifespan

    async def start(self) -> None:
        """Opens what the handlers need. Waits for neither PostgreSQL nor Redis: until they are there, requests get 503."""
        settings = self._settings
        database = await Database.open(settings, "edge", size=DATABASE_CONNECTIONS)
        watch = PartitionWatch(settings.redis_url)
        inbox = Inbox(settings, watch)
        redis, bulk_redis = (RedisPipe(settings.redis_url, timeout_s=READ_TIMEOUT_S) for _ in range(2))
        services = Services(settings, self._clock, database, redis, bulk_redis, inbox, channel_client())
        await watch.start()
        await inbox.start()
        self._running = _Running(
            services,
            watch,
            inbox,
            Authenticator(settings, database, self._clock),
            StoredAnswers(settings),
            Readiness(settings, database, watch),
        )

    def begin_farewell(self) -> None:
        """From now on every answer asks its client to close the connection."""
        self._farewell = True

    async def stop(self) -> None:
        """Answers what is on its way, takes nothing new, closes everything."""
        running, self._running = self._running, None
        if running is None:
            return
        await running.inbox.stop()
        await running.watch.stop()
        await running.services.redis.close()
        await running.services.bulk_redis.close()
        await running.services.http.aclose()
        await running.services.database.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as failure:
                    _log.error("edge_not_started", exc_info=True)
                    await send({"type": "lifespan.startup.failed", "message": str(failure)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    # ------------------------------------------------------------------ requests

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = new_request_id(self._clock)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        incoming = limits.Incoming(receive)
        endpoint: Endpoint | None = None
        reusable = True
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        path = path.partition(b"?")[0]
        try:
            system = self._system.get(path)
            if system is not None:
                if scope["method"] not in ("GET", "HEAD"):
                    raise Problem("method_not_allowed", "This path takes GET, HEAD.", allow=["GET", "HEAD"])
                response = await system(request_id)
            else:
                endpoint, parameters = self._table.find(scope["method"], path)
                response = await self._answer(endpoint, parameters, scope, headers, incoming, request_id)
        except Problem as problem:
            self._check_told(problem, endpoint)
            response = self._refused(problem, path, endpoint, headers, request_id)
            if problem.status in (408, 413):
                reusable = False
            else:
                # If it was refused with its body unread, and that is small, the connection is worth more than the reading.
                reusable = await limits.drain(incoming, headers)
        except limits.ClientGoneError:
            return
        except Exception:
            _log.error("request_failed", request_id=request_id, method=scope["method"], path=_shown(endpoint), exc_info=True)
            unexpected = Problem("internal_error", "Something went wrong here. The request id finds it in our logs.")
            response = self._refused(unexpected, path, endpoint, headers, request_id)
        seconds = time.perf_counter() - began
        if endpoint is not None:
            endpoint.observe(response.status, seconds)
        if self._settings.access_log:
            _log.info(
                "request", request_id=request_id, method=scope["method"], path=_shown(endpoint), status=response.status, seconds=seconds
            )
        if response.status in (429, 503) and endpoint is not None:
            await self._hold_back()
        await self._send(send, response, request_id, body=scope["method"] != "HEAD", reusable=reusable)

    async def _hold_back(self) -> None:
        # A client that ignores Retry-After would otherwise spend, on being refused, the time that others' work needs.
        if self._held_back < MAX_HELD_BACK:
            self._held_back += 1
            try:
                await asyncio.sleep(HOLD_BACK_S)
            finally:
                self._held_back -= 1

    async def _answer(
        self, endpoint: Endpoint, parameters: dict[str, str], scope: Scope, headers: dict[bytes, bytes], receive: Receive, request_id: str
    ) -> _Response:
        running = self._running
        if running is None:
            raise Problem("shutting_down", "This process is shutting down.")
        route = endpoint.route
        tenant = None if route.public else await running.authenticator.authenticate(headers.get(b"authorization"))
        query = decode_query(endpoint, scope["query_string"])
        if route.idempotency == "events":
            refuse_key(headers.get(b"idempotency-key"))
        key = None if route.method == "GET" else parse_key(headers.get(b"idempotency-key"))
        peer = scope.get("client") or ("", 0)
        call = Call(running.services, route, request_id, parameters, query, None, b"", headers, peer[0], key, tenant)
        with ExitStack() as held:
            if route.raw and tenant is not None:
                # Before the body is read: what cannot be worked on is not even taken into memory. Whether the core is there is asked
                # later, since known duplicates are answered without it.
                running.inbox.check_open()
                if self._batches.exhausted:
                    raise Problem("overloaded", "More batches are in flight than can be answered in time.")
            if route.method != "GET":
                call.raw_body = await self._body(endpoint, headers, receive)
                held.enter_context(self._bodies.account(call.raw_body))
                if len(call.raw_body) > self._settings.max_body_bytes:
                    held.enter_context(self._large.one())
            if route.raw:
                if tenant is not None:
                    held.enter_context(self._batches.one())
            elif route.method != "GET":
                call.body = decode_body(endpoint, call.raw_body)
            if route.idempotency == "stored":
                answer = await running.answers.run(call, (scope.get("raw_path") or b"").decode("latin-1"))
            else:
                answer = await route.handler(call)
                for action in call.after_commit:
                    await action()
        status = answer.status if answer.status is not None else route.status
        return _Response(status, answer.content_type.encode(), answer.encode(), answer.headers)

    async def _body(self, endpoint: Endpoint, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        if empty and endpoint.body_may_be_empty and not endpoint.route.raw:
            return b""
        max_bytes = self._settings.max_body_bytes * (limits.LARGE_BODY_TIMES if endpoint.route.large_body else 1)
        encoding = limits.check_headers(headers, max_bytes, endpoint.route.takes)
        return await self._bodies.read(receive, encoding, max_bytes)

    def _refused(self, problem: Problem, path: bytes, endpoint: Endpoint | None, headers: dict[bytes, bytes], request_id: str) -> _Response:
        """A failure as its route shows it, or, on an unknown path, as the routes beneath the same first segment do."""
        refusal = self._refusals.get(path.lstrip(b"/").partition(b"/")[0]) if endpoint is None else endpoint.route.refusal
        plain = problem_response(problem, request_id)
        if refusal is None:
            return plain
        shown = refusal(problem, headers, request_id)
        return _Response(shown.status or plain.status, shown.content_type.encode(), shown.encode(), {**plain.headers, **shown.headers})

    def _check_told(self, problem: Problem, endpoint: Endpoint | None) -> None:
        """A code that the document does not have is a fault of ours, not the client's. Tests fail by this line of the log."""
        route = None if endpoint is None else endpoint.route
        if route is not None and problem.code not in self._told.get((route.method, route.path), (problem.code,)):
            _log.warning("undocumented_code", method=route.method, path=route.path, code=problem.code)

    async def _send(self, send: Send, response: _Response, request_id: str, *, body: bool, reusable: bool) -> None:
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            (b"x-request-id", request_id.encode()),
            *((name.lower().encode(), value.encode()) for name, value in response.headers.items()),
        ]
        if "cache-control" not in response.headers:
            headers.append((b"cache-control", b"no-store"))
        if self._farewell or not reusable:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body if body else b""})

    # ------------------------------------------------------------------ the system's own paths

    async def _healthz(self, _request_id: str) -> _Response:
        return _Response(200, _JSON, b'{"status":"ok"}', {})

    async def _readyz(self, request_id: str) -> _Response:
        if self._running is None:
            raise Problem("shutting_down", "This process is shutting down.")
        reasons = await self._running.readiness.reasons()
        if reasons:
            return problem_response(Problem("not_ready", "; ".join(reasons), ready=False, reasons=reasons), request_id)
        return _Response(200, _JSON, b'{"ready":true,"reasons":[]}', {})

    async def _metrics(self, _request_id: str) -> _Response:
        text, content_type = telemetry.metrics_text()
        return _Response(200, content_type.encode(), text, {})

    async def _describe(self, _request_id: str) -> _Response:
        return _Response(200, _JSON, self._openapi, {"access-control-allow-origin": "*"})

    async def _refer(self, address: str, _request_id: str) -> _Response:
        return _Response(200, b"text/html; charset=utf-8", self._reference.page(address), reference.HEADERS)


def problem_response(problem: Problem, request_id: str) -> _Response:
    """A Problem as application/problem+json (RFC 9457)."""
    content: dict[str, Any] = {
        "type": f"urn:buffmoney:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "requestId": request_id,
        "retryable": problem.retryable,
    }
    if problem.param is not None:
        content["param"] = problem.param
    extensions = dict(problem.extensions)
    headers: dict[str, str] = {}
    if problem.status == 405:
        headers["allow"] = ", ".join(extensions.pop("allow", ()))
    elif problem.status == 401:
        headers["www-authenticate"] = 'Bearer realm="buffmoney"'
    if problem.retry_after is not None:
        headers["retry-after"] = str(problem.retry_after)
    return _Response(problem.status, _PROBLEM, _encode({**extensions, **content}), headers)


def _shown(endpoint: Endpoint | None) -> str | None:
    return None if endpoint is None else endpoint.route.path


def create_app(settings: Settings | None = None) -> Edge:
    """The application. settings: from the environment if None. Raises SettingsError."""
    return Edge(settings or Settings.from_environment().complete())
