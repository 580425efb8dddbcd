"""The life of one ingest process: listen, serve until told to stop, end well.

The socket is bound before the fork and shared by all ingest processes, so the kernel spreads connections over
them and a process that is started again loses none that wait.

Start: learn from Redis what pushes need, then accept. What connects before waits in the kernel, where it costs
nothing; a process that accepted first would answer 503 beside others that could have answered 202. When Redis does
not answer soon, the process serves without.

Stop: each connection closes after its next answer; after a farewell no more are accepted and idle ones close; open
requests have the grace to end; what they wait for is flown to Redis; exit code 0.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

import uvloop

from ingest.app import routes
from ingest.conversation import Conversations
from ingest.measures import INGEST, STARTS
from ingest.options import IngestOptions
from ingest.store import Store
from runtime.collector import look_seldom, spare_what_exists
from runtime.measures import Sheet, begun
from runtime.stopping import stop_event, wait

LOG: Final = logging.getLogger("clarion.ingest")
PULSE_EVERY_S: Final = 1.0
REQUEST_ID_BYTES: Final = 4
LEARN_MOST_S: Final = 1.0


def serve(
    options: IngestOptions,
    listener: socket.socket,
    *,
    pulse: Callable[[], None],
    lifeline: int | None,
    sheet: Sheet | None = None,
) -> int:
    """Serve until SIGTERM, SIGINT or the end of file on ``lifeline``; returns the exit code.

    ``pulse`` is called from the event loop about once a second, so its silence tells that the loop hangs. ``sheet`` is
    where to count.
    """
    return uvloop.run(_serve(options, listener, pulse, lifeline, begun(sheet, INGEST, STARTS)))


async def _serve(
    options: IngestOptions,
    listener: socket.socket,
    pulse: Callable[[], None],
    lifeline: int | None,
    sheet: Sheet,
) -> int:
    look_seldom()
    stop = stop_event(lifeline)
    store = Store(options, sheet)
    store.open()
    pulse()
    await wait(store.learned, LEARN_MOST_S)
    prefix = f"{os.urandom(REQUEST_ID_BYTES).hex()}-"
    conversations = Conversations(routes(store, options), options, prefix, sheet)
    server = await asyncio.get_running_loop().create_server(
        conversations, sock=listener, backlog=options.backlog
    )
    spare_what_exists()
    LOG.info("listening on http://%s:%d", *listener.getsockname()[:2])
    while not stop.is_set():
        pulse()
        await wait(stop, PULSE_EVERY_S)
    LOG.info("stopping: %r", conversations)
    ended = asyncio.create_task(conversations.end(options.grace_s, server.close))
    while not ended.done():
        pulse()
        await asyncio.wait((ended,), timeout=PULSE_EVERY_S)
    await ended
    await store.close()
    return 0
