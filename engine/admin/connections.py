"""Connections of the admin API: what is not HTTP at all is told as everything else is, and quoted nowhere.

aiohttp's own answer to it, and its line in the log, hold the header that could not be read; with a token in it.
"""

import logging
import os
from typing import Any, Final

import msgspec
from aiohttp import web

from engine.admin.problems import Code, problem
from shards.problem import CONTENT_TYPE, Refusal

LOG: Final = logging.getLogger("clarion.admin")
REQUEST_ID_BYTES: Final = 8

NOT_HTTP: Final = Refusal(Code.BAD_REQUEST, "the request line, a header or the body is not valid HTTP/1.1")
FAULT: Final = Refusal(Code.INTERNAL, "the log has it under the id of this request")


class Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp could not parse, or to a fault of ours. The connection closes after it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the fault came after the answer had begun")
        request_id = new_request_id()
        if status >= 500:
            LOG.error("request %s failed by a fault of ours", request_id, exc_info=exc)
        answer = refused(FAULT if status >= 500 else NOT_HTTP, request_id)
        answer.force_close()
        return answer


class Connections(web.Server):
    """All of them."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on connections of our kind."""

    async def _make_server(self) -> web.Server:
        theirs = await super()._make_server()
        kwargs: dict[str, Any] = theirs._kwargs
        return Connections(theirs.request_handler, request_factory=theirs.request_factory, **kwargs)


def new_request_id() -> str:
    return os.urandom(REQUEST_ID_BYTES).hex()


def refused(refusal: Refusal, request_id: str, **headers: str) -> web.Response:
    """The problem document for a refusal. A header's name is written with _ for -."""
    document = problem(refusal, request_id)
    return web.Response(
        body=msgspec.json.encode(document),
        status=document.status,
        content_type=CONTENT_TYPE,
        headers={"Server": "clarion", **{name.replace("_", "-"): value for name, value in headers.items()}},
    )
