"""The admin API as an aiohttp application: who asks, may they, what do they ask for, do it, log it, answer.

It is asked seldom, so it is written to be read: one request is one walk down ``_serve``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from engine.admin.bodies import decode_body, decode_query, refused_body, refused_query
from engine.admin.callers import UNKNOWN, Caller, caller_of
from engine.admin.connections import FAULT, NOT_HTTP, new_request_id, refused
from engine.admin.openapi import describe
from engine.admin.options import AdminOptions
from engine.admin.problems import KINDS, RETRY_AFTER_S, Code, problems_page, refusal_of
from engine.admin.resources import Ask
from engine.admin.routes import ROUTES, Route
from engine.admin.token import AdminToken
from engine.link.check import Check
from runtime.version import installed_version
from shards.administration.actions import Administration, wall_ms
from shards.administration.checks import ActionRefused
from shards.errors import NotFound, StoreError, StoreRefused, StoreUnavailable
from shards.problem import Refusal

LOG: Final = logging.getLogger("clarion.admin")
AUDIT: Final = logging.getLogger("clarion.audit")

JSON: Final = "application/json"
READY_MOST_S: Final = 1.0

REQUEST_ID: Final = web.RequestKey("id", str)

_encode: Final = msgspec.json.Encoder().encode
_Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Desk:
    """Answers what the table of routes has. ``now_ms`` is Unix time."""

    def __init__(
        self,
        administration: Administration,
        check: Check,
        token: AdminToken,
        options: AdminOptions,
        *,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._administration = administration
        self._check = check
        self._token = token
        self._options = options
        self._now_ms = now_ms

    def application(self) -> web.Application:
        """Everything that there is at this address."""
        description = _encode(describe(installed_version()))
        app = web.Application(middlewares=[_in_problems], client_max_size=self._options.body_bytes_most)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, partial(self._serve, route))
        app.router.add_get("/livez", partial(_fixed, b'{"status":"alive"}', JSON))
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/openapi.json", partial(_fixed, description, JSON))
        app.router.add_get("/docs/problems", partial(_fixed, problems_page().encode(), "text/plain"))
        app.on_response_prepare.append(_with_headers)
        return app

    async def _serve(self, route: Route, request: web.Request) -> web.Response:
        try:
            found = await self._answer(route, request)
        except (ActionRefused, StoreError) as error:
            found = refusal_of(error, changes=route.changes)
        return _refused(found, request) if isinstance(found, Refusal) else found

    async def _answer(self, route: Route, request: web.Request) -> web.Response | Refusal:
        tenant = request.match_info.get("tenant", "")
        caller = await self._caller(request, route, tenant)
        if isinstance(caller, Refusal):
            return caller
        body = await self._body(request, route)
        if isinstance(body, Refusal):
            return body
        query = _query(request, route)
        if isinstance(query, Refusal):
            return query
        if request.body_exists:
            # while it arrived, its key may have been revoked, and its tenant's name be another's
            caller = await self._caller(request, route, tenant)
            if isinstance(caller, Refusal):
                return caller
        ask = Ask(tenant, request.match_info.get("name", ""), body, query, self._check)
        try:
            outcome = await route.act(self._administration, ask)
        except (StoreRefused, StoreUnavailable):
            if route.changes:
                # the record may be written, and only the rest of it be left undone
                whose = tenant or body.name
                AUDIT.warning("%s may have done %s of tenant %s", caller.name, route.name, whose)
            raise
        if route.changes:
            what = f": {outcome.what}" if outcome.what else ""
            AUDIT.info("%s did %s of tenant %s%s", caller.name, route.name, outcome.tenant, what)
        return web.Response(body=_encode(outcome.answer), status=route.status, content_type=JSON)

    async def _caller(self, request: web.Request, route: Route, tenant: str) -> Caller | Refusal:
        """Whoever asks, if they may."""
        try:
            caller = await caller_of(request, self._token, self._administration.store, self._now_ms())
        except NotFound:
            # an API key that has outlived its tenant
            return UNKNOWN
        if isinstance(caller, Refusal):
            return caller
        return caller.may(tenant, operator=route.operator, changes=route.changes) or caller

    async def _body(self, request: web.Request, route: Route) -> Any:
        """The request, None if the route takes none, or a Refusal."""
        if route.body is None and not request.body_exists:
            return None
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return Refusal(Code.CONTENT_ENCODING, "send the body as it is, without Content-Encoding")
        try:
            async with asyncio.timeout(self._options.body_s):
                content = await request.read()
        except TimeoutError:
            return Refusal(Code.BODY_TOO_SLOW, f"a body has {self._options.body_s:g} s to arrive")
        except (RequestPayloadError, OSError):
            # it is not what was announced, or whoever sent it has gone
            return NOT_HTTP
        if route.body is None:
            return refused_body(content, route.query)
        if content and request.content_type != JSON:
            return Refusal(Code.CONTENT_TYPE, f"send the body with Content-Type: {JSON}")
        return decode_body(content, route.body)

    async def _ready(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READY_MOST_S):
                await self._administration.store.ping()
        except (TimeoutError, StoreError):
            return _refused(Refusal(Code.STORE_UNAVAILABLE, "Redis does not answer within a second"), request)
        return web.Response(body=b'{"status":"ready"}', content_type=JSON)


def _query(request: web.Request, route: Route) -> Any:
    """What stands behind the question mark, None if the route takes nothing there, or a Refusal."""
    if route.query is None:
        return refused_query(request.query, route.body)
    return decode_query(request.query, route.query)


async def _fixed(body: bytes, content_type: str, request: web.Request) -> web.Response:
    return web.Response(body=body, content_type=content_type, charset="utf-8")


@web.middleware
async def _in_problems(request: web.Request, handler: _Answering) -> web.StreamResponse:
    """Whatever goes wrong outside of the table of routes is told in the same way."""
    request[REQUEST_ID] = new_request_id()
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return _refused(
            Refusal(Code.METHOD_NOT_ALLOWED, f"use one of {allowed} here"), request, Allow=allowed
        )
    except web.HTTPRequestEntityTooLarge as error:
        return _refused(Refusal(Code.BODY_TOO_LARGE, str(error.text).lower()), request)
    except web.HTTPNotFound:
        return _refused(Refusal(Code.NO_ADDRESS, "/openapi.json lists what there is"), request)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        LOG.exception("request %s failed", request[REQUEST_ID])
        return _refused(FAULT, request)


def _refused(refusal: Refusal, request: web.Request, **headers: str) -> web.Response:
    status = KINDS[refusal.code].status
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW_Authenticate"] = "Bearer"
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry_After"] = str(RETRY_AFTER_S)
    return refused(refusal, request[REQUEST_ID], **headers)


async def _with_headers(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers["Server"] = "clarion"
    answer.headers["X-Request-Id"] = request.get(REQUEST_ID, "")
    # answers hold new API keys
    answer.headers["Cache-Control"] = "no-store"
