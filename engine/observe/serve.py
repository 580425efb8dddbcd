"""The life of the process that shows metrics: listen, look at Redis when asked, answer, stop.

It is a process of its own, since neither a worker's loop nor an ingest's should wait for whoever watches them, and one
address is to speak for all of them.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from engine.observe.metrics import Metrics
from runtime.measures import Board
from runtime.stopping import stop_event, wait
from shards import keys
from shards.errors import StoreError
from shards.redis import ScriptConnection, connect, store_errors
from shards.survey import Surveys
from shards.tenants import Tenants

LOG: Final = logging.getLogger("clarion.metrics")
PULSE_EVERY_S: Final = 1.0
LOOK_MOST_S: Final = 1.0
GRACE_S: Final = 2.0


def serve(
    listener: socket.socket,
    board: Board,
    redis_url: str,
    *,
    pulse: Callable[[], None],
    lifeline: int | None,
) -> int:
    """Serve until SIGTERM, SIGINT or the end of file on ``lifeline``; returns the exit code.

    ``pulse`` is called from the event loop about once a second, so its silence tells that the loop hangs.
    """
    return uvloop.run(_serve(listener, board, redis_url, pulse, lifeline))


async def _serve(
    listener: socket.socket, board: Board, redis_url: str, pulse: Callable[[], None], lifeline: int | None
) -> int:
    stop = stop_event(lifeline)
    watch = Watch(board, redis_url)
    app = web.Application()
    app.router.add_get("/metrics", watch.show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        LOG.info("metrics on http://%s:%d/metrics", *listener.getsockname()[:2])
        while not stop.is_set():
            pulse()
            await wait(stop, PULSE_EVERY_S)
    finally:
        await runner.cleanup()
        await watch.close()
    return 0


class Watch:
    """Looks at the board and at Redis, one look at a time, and shows what it saw."""

    def __init__(self, board: Board, redis_url: str) -> None:
        self._metrics = Metrics(board)
        self._registry = CollectorRegistry()
        self._registry.register(self._metrics)
        self._tenants = Tenants(redis_url)
        self._scripts = ScriptConnection(redis_url, answer_timeout_s=LOOK_MOST_S)
        self._surveys = Surveys(self._scripts)
        self._client = connect(redis_url)
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Watch {self._metrics!r}>"

    async def show(self, request: web.Request) -> web.Response:
        """GET /metrics"""
        async with self._turn:
            await self._look()
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            body = encode(self._registry)
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    async def _look(self) -> None:
        metrics = self._metrics
        metrics.stand = None
        try:
            async with asyncio.timeout(LOOK_MOST_S):
                with store_errors():
                    metrics.conditions = await self._client.hlen(keys.CONDITIONS)
                    metrics.workers = await self._client.zcard(keys.MEMBERS)
                metrics.stand = await self._surveys.take(await self._tenants.shards())
        except (StoreError, TimeoutError):
            LOG.warning("metrics are shown without the queues: Redis does not answer")

    async def close(self) -> None:
        await self._client.aclose()
        await self._scripts.close()
        await self._tenants.close()
