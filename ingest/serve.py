"""The life of one ingest process: listen, serve until told to stop, end well.

The socket is bound before the fork and shared by all ingest processes, so the kernel spreads connections over
them and a process that is started again loses none that wait. A signal and the end of the lifeline only set an
event; what they mean is done in one place.

Start: learn from Redis what pushes need, then accept. What connects before waits in the kernel, where it costs
nothing; a process that accepted first would answer 503 beside others that could have answered 202. When Redis does
not answer soon, the process serves without.

Stop: each connection closes after its next answer; after a farewell no more are accepted and idle ones close; open
requests have the grace to end; what they wait for is flown to Redis; exit code 0.
"""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

import uvloop

from ingest.app import routes
from ingest.conversation import Conversations
from ingest.options import IngestOptions
from ingest.store import Store

LOG: Final = logging.getLogger("clarion.ingest")
PULSE_EVERY_S: Final = 1.0
REQUEST_ID_BYTES: Final = 4
LEARN_MOST_S: Final = 1.0


class ListenError(Exception):
    """The address can't be listened on; the text is one line that says what to do."""


def listen(options: IngestOptions) -> socket.socket:
    """The listening socket, to be inherited by every ingest process. Raises ListenError."""
    host, port = options.bind_host, options.bind_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family, backlog=options.backlog)
    except socket.gaierror as error:
        raise ListenError(
            f"{host!r} is no address of this machine ({error.strerror}); write another --bind"
        ) from error
    except OSError as error:
        raise ListenError(_advice(error, host, port)) from error
    listener.setblocking(False)
    return listener


def _advice(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what listens there, or write another port in --bind"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not listen on port {port} of {host}; write a port from 1024 in --bind"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; write one that is in --bind, or 0.0.0.0 for all"
    return f"can't listen on {host} port {port}: {error.strerror}; write another --bind"


def serve(
    options: IngestOptions, listener: socket.socket, *, pulse: Callable[[], None], lifeline: int | None
) -> int:
    """Serve until SIGTERM, SIGINT or the end of file on ``lifeline``; returns the exit code.

    ``pulse`` is called from the event loop about once a second, so its silence tells that the loop hangs.
    """
    return uvloop.run(_serve(options, listener, pulse, lifeline))


async def _serve(
    options: IngestOptions, listener: socket.socket, pulse: Callable[[], None], lifeline: int | None
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:
        _watch(loop, lifeline, stop)
    store = Store(options)
    store.open()
    pulse()
    await _wait(store.learned, LEARN_MOST_S)
    conversations = Conversations(routes(store, options), options, f"{os.urandom(REQUEST_ID_BYTES).hex()}-")
    server = await loop.create_server(conversations, sock=listener, backlog=options.backlog)
    # what exists now lives as long as the process: the collector need not walk it again and again
    gc.collect()
    gc.freeze()
    LOG.info("listening on http://%s:%d", *listener.getsockname()[:2])
    while not stop.is_set():
        pulse()
        await _wait(stop, PULSE_EVERY_S)
    LOG.info("stopping: %r", conversations)
    ended = asyncio.create_task(conversations.end(options.grace_s, server.close))
    while not ended.done():
        pulse()
        await asyncio.wait((ended,), timeout=PULSE_EVERY_S)
    await ended
    await store.close()
    return 0


async def _wait(event: asyncio.Event, most_s: float) -> None:
    try:
        async with asyncio.timeout(most_s):
            await event.wait()
    except TimeoutError:
        pass


def _watch(loop: asyncio.AbstractEventLoop, lifeline: int, stop: asyncio.Event) -> None:
    """Stop when the lifeline ends, which tells that the supervisor is gone."""

    def ended() -> None:
        # it never carries a byte, so whatever makes it readable is its end
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, ended)
