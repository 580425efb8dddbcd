"""HTTP connections, on aiohttp's low-level server: which coroutine answers what, and how a connection ends.

There is no ``web.Application``: its resolver, middlewares and signals cost more than admitting a push, and the
routes here are a dict. Faults that aiohttp answers in plain text are problem documents here as everywhere.
"""

import asyncio
import logging
import re
import resource
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from ingest.answer import Answer, refused
from ingest.crowd import Places, places
from ingest.measures import REQUEST_S, REQUESTS
from ingest.options import IngestOptions
from ingest.problems import Code
from runtime.measures import Sheet
from shards.problem import Refusal

LOG: Final = logging.getLogger("clarion.ingest")
LOOK_AGAIN_AFTER_S: Final = 0.02
# A connection without a request may have one on its way, which would meet a reset if we closed. So for a farewell
# everybody is served on, each answer saying that the connection closes, and new connections come in as before: with
# one process they would wait for its successor. Then a last call for those that came in at the end of it.
FAREWELL_S: Final = 0.75
LAST_CALL_S: Final = 0.25
# what aiohttp may still take to cancel a request; it takes 0 for "as long as it needs"
CUT_OFF_AFTER_S: Final = 0.1
READ_AHEAD_BYTES: Final = 256 * 1024
# how often it is logged that there are too many
CROWDED_AGAIN_S: Final = 10.0
# what is looked at, by whoever: it costs little, and a probe that fails would have a busy process killed
READING: Final = frozenset({"GET", "HEAD"})
# how long the rest of a refused body is read and dropped, so that the client sees the answer and not a reset
LINGER_S: Final = 2.0

Answering = Callable[[web.BaseRequest, str], Awaitable[Answer]]
Routes = Mapping[str, Mapping[str, Answering]]

_CROWDED: Final = Refusal(
    Code.TOO_BUSY, "there are as many connections as may be; nothing was accepted, send it later on a new one"
)
# struct linger of socket(7): on, for 0 s
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:@/+=-]{1,128}")


class Conversation(web.RequestHandler):
    """One connection. ``surplus``: it was one too many when it came, so that what it wants done is not done.

    A client that does not read what it asked for is cut off after a time: its answers are held for it until then.
    """

    __slots__ = ("_cut_off", "surplus")

    _cut_off: asyncio.TimerHandle | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._cut_off = None
        manager = self._manager
        self.surplus = isinstance(manager, Conversations) and manager.came(self)
        if self.surplus:
            # one that only sits there would keep probes out
            asyncio.get_running_loop().call_later(LINGER_S, self._retire_surplus)

    def pause_writing(self) -> None:
        super().pause_writing()
        # the transport is let go of when the connection is to close, which it can't while the client does not read
        if self.transport is not None and isinstance(self._manager, Conversations):
            self._cut_off = self._loop.call_later(self._manager.answer_s, _reset, self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._keep_on()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._keep_on()

    def _keep_on(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None

    def _retire_surplus(self) -> None:
        if self.surplus:
            self.retire_if_idle()

    def retire_if_idle(self) -> None:
        """Close the connection if no request is under way on it."""
        # as aiohttp's own keep-alive timer tells it
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

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
        manager = self._manager
        request_id = manager.new_request_id() if isinstance(manager, Conversations) else ""
        if status < 500:
            answer = refused(
                Refusal(Code.BAD_REQUEST, "the request line or a header is not valid HTTP/1.1"), request_id
            )
        else:
            LOG.error("request %s failed by a fault of ours", request_id, exc_info=exc)
            answer = refused(
                Refusal(Code.INTERNAL, "the fault is logged under this request's id"), request_id
            )
        answer.force_close()
        return answer


class Conversations(web.Server):
    """All connections of one process, whose requests are counted on ``sheet``; the protocol factory that a loop's
    ``create_server`` takes."""

    def __init__(self, routes: Routes, options: IngestOptions, request_id_prefix: str, sheet: Sheet) -> None:
        super().__init__(self._answer, request_factory=self._request)
        self._routes = routes
        self._options = options
        self._request_ids = count(1)
        self._request_id_prefix = request_id_prefix
        self._sheet = sheet
        self.answer_s = options.answer_s
        self._ending = False
        self._crowded_s = float("-inf")

    def __repr__(self) -> str:
        state = "ending" if self._ending else "open"
        return f"<Conversations {state}, {len(self.connections)} connections, {self.requests_count} requests>"

    def __call__(self) -> Conversation:
        return Conversation(
            self,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp: "falsy turns it off"
            auto_decompress=False,
            keepalive_timeout=self._options.keepalive_s,
            lingering_time=LINGER_S,
            read_bufsize=READ_AHEAD_BYTES,
        )

    def came(self, conversation: Conversation) -> bool:
        """A new connection. Returns whether it is one too many; one that is not even to be told is closed."""
        most = _places()
        # aiohttp's own property makes a list
        number = len(self._connections)
        if number <= most.served:
            return False
        if time.monotonic() - self._crowded_s >= CROWDED_AGAIN_S:
            self._crowded_s = time.monotonic()
            LOG.warning(
                "%d connections are as many as nofile allows; raise it, or start more processes", number
            )
        if number > most.answered:
            conversation.force_close()
        return True

    def _still_surplus(self, conversation: web.RequestHandler) -> bool:
        """Whether it is one too many now: others may have left since it came."""
        if not isinstance(conversation, Conversation) or not conversation.surplus:
            return False
        conversation.surplus = len(self._connections) > _places().served
        return conversation.surplus

    def new_request_id(self) -> str:
        """An id for a request that brought none: unique to the process by its prefix, then counted."""
        return f"{self._request_id_prefix}{next(self._request_ids):x}"

    async def end(self, grace_s: float, accept_no_more: Callable[[], None]) -> None:
        """Close every connection: after its next answer, idle ones after a farewell, and all after ``grace_s``.

        No client that opens a connection for its request, or that sends again within the farewell, sees a reset.
        aiohttp's ``shutdown`` alone would stop reading first, so a body that is still arriving would never end.
        """
        self._ending = True
        try:
            async with asyncio.timeout(grace_s):
                await self._emptied(FAREWELL_S)
                accept_no_more()
                await self._emptied(LAST_CALL_S)
                while connections := self.connections:
                    for conversation in connections:
                        if isinstance(conversation, Conversation):
                            conversation.retire_if_idle()
                    await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        except TimeoutError:
            accept_no_more()
            LOG.warning(
                "%d connections are closed with a request open: the grace is over", len(self.connections)
            )
        await self.shutdown(CUT_OFF_AFTER_S)

    async def _emptied(self, most_s: float) -> None:
        """Returns when no connection is left, or after so long."""
        for _ in range(round(most_s / LOOK_AGAIN_AFTER_S)):
            if not self.connections:
                return
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        most = self._options.body_bytes_most
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=most)

    async def _answer(self, request: web.BaseRequest) -> Answer:
        began_s = time.monotonic()
        answer = await self._answer_uncounted(request)
        self._sheet.add(REQUESTS, 1, str(answer.status))
        self._sheet.observe(REQUEST_S, time.monotonic() - began_s)
        return answer

    async def _answer_uncounted(self, request: web.BaseRequest) -> Answer:
        shown = request.headers.get("X-Request-Id")
        # one that could break a log line or a header is replaced, not mended
        request_id = shown if shown is not None and _REQUEST_ID.fullmatch(shown) else self.new_request_id()
        surplus = self._still_surplus(request.protocol)
        methods = self._routes.get(request.raw_path) or self._routes.get(request.path)
        if methods is None:
            answer = refused(Refusal(Code.NOT_FOUND, "see /docs for what there is"), request_id)
        else:
            verb = methods.get(request.method)
            if verb is None:
                answer = _not_allowed(methods, request_id)
            elif surplus and request.method not in READING:
                answer = refused(_CROWDED, request_id, retry_after_s=self._options.retry_after_s)
            else:
                answer = await verb(request, request_id)
        if surplus or self._ending:
            answer.force_close()
        return answer


def _reset(transport: asyncio.Transport) -> None:
    """Close at once, and have the kernel drop what the client has not read: it would hold megabytes for minutes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def _places() -> Places:
    # as it is now: the limit may be raised while the process runs
    return places(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def with_head(routes: Routes) -> Routes:
    """The routes with HEAD wherever there is GET (RFC 9110, section 9.3.2)."""
    return {
        path: {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods
        for path, methods in routes.items()
    }


def _not_allowed(methods: Mapping[str, Answering], request_id: str) -> Answer:
    allow = ", ".join(sorted(methods))
    return refused(Refusal(Code.METHOD_NOT_ALLOWED, f"the methods here are {allow}"), request_id, allow=allow)
