"""An answer as it stands on the wire: one status line, a few headers, one body, one write.

aiohttp's ``web.Response`` costs 15 of the 36 µs that aiohttp needs for a small request (measured on 64 keep-alive
connections), most of it for headers in a case-insensitive multi-dict that are then serialised one by one. No
answer of ours needs that: they all have the same few headers, so they are joined here.
"""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ingest.problems import Code, Problem, problem
from shards.problem import CONTENT_TYPE as PROBLEM_TYPE
from shards.problem import Refusal

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"

_encode: Final = msgspec.json.Encoder().encode
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class Answer(web.StreamResponse):
    """What is sent for one request. ``headers`` are ready lines, each with its end: "Allow: GET\\r\\n"."""

    def __init__(
        self, status: int, body: bytes, request_id: str, content_type: str = JSON, headers: str = ""
    ) -> None:
        super().__init__(status=status)
        self._text = body
        self._head = (
            f"{_STATUS_LINES[status]}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-Id: {request_id}\r\nServer: clarion\r\n{headers}"
        )

    def add(self, headers: str) -> None:
        """More headers, as ready lines."""
        self._head += headers

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send all of it; aiohttp calls this once, when the request's coroutine has returned."""
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        connection = ""
        if not self._keep_alive:
            connection = "Connection: close\r\n"
        elif request.version.minor == 0:
            # an HTTP/1.0 client that asked for it must be told that it was heard (RFC 9112, section 9.3)
            connection = "Connection: keep-alive\r\n"
        head = f"{self._head}Date: {_date()}\r\n{connection}\r\n".encode("latin-1")
        writer = request.writer
        await writer.write(head if request.method == "HEAD" else head + self._text)
        if request.protocol.writing_paused:
            # a client that asks on without reading would fill the memory with short answers
            await writer.drain()
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send after ``prepare``."""


def refused(refusal: Refusal, request_id: str, *, retry_after_s: int = 0, allow: str = "") -> Answer:
    """The problem document for a request that was refused, with the headers that its status calls for."""
    document: Problem = problem(refusal, request_id)
    headers = ""
    if document.status == HTTPStatus.UNAUTHORIZED:
        headers = "WWW-Authenticate: Bearer\r\n"
    elif document.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers = f"Retry-After: {retry_after_s}\r\n"
    elif document.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = f"Allow: {allow}\r\n"
    elif refusal.code is Code.CONTENT_ENCODING:
        # RFC 9110, section 12.5.3: in an answer, the codings that this resource takes
        headers = "Accept-Encoding: gzip, identity\r\n"
    answer = Answer(document.status, _encode(document), request_id, PROBLEM_TYPE, headers)
    if document.status == HTTPStatus.REQUEST_TIMEOUT:
        # RFC 9110, section 15.5.9: what is left of the request is not waited for
        answer.force_close()
    return answer


class _Clock:
    """The Date header of the present second; formatting it costs more than a small answer."""

    second = -1
    text = ""


def _date() -> str:
    now_s = int(time.time())
    if now_s != _Clock.second:
        _Clock.second = now_s
        _Clock.text = formatdate(now_s, usegmt=True)
    return _Clock.text
