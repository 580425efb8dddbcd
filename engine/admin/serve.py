"""The life of the admin process: listen, serve until told to stop, end well.

The socket is bound before the fork, so that an address that can't be had is told before anything runs. Redis need not
be there at the start: until it is, requests are told so.
"""

import logging
import socket
from collections.abc import Callable
from typing import Final

import uvloop
from aiohttp import web

from engine.admin.app import Desk
from engine.admin.connections import Runner
from engine.admin.options import AdminOptions
from engine.admin.token import AdminToken
from engine.link.check import check_of
from runtime.stopping import stop_event, wait
from shards.administration.actions import Administration
from shards.vault import Vault

LOG: Final = logging.getLogger("clarion.admin")
PULSE_EVERY_S: Final = 1.0


def serve(
    options: AdminOptions,
    listener: socket.socket,
    token: AdminToken,
    vault: Vault,
    *,
    pulse: Callable[[], None],
    lifeline: int | None,
) -> int:
    """Serve until SIGTERM, SIGINT or the end of file on ``lifeline``; returns the exit code.

    ``pulse`` is called from the event loop about once a second, so its silence tells that the loop hangs.
    """
    return uvloop.run(_serve(options, listener, token, vault, pulse, lifeline))


async def _serve(
    options: AdminOptions,
    listener: socket.socket,
    token: AdminToken,
    vault: Vault,
    pulse: Callable[[], None],
    lifeline: int | None,
) -> int:
    stop = stop_event(lifeline)
    administration = Administration(options.redis_url, lambda create: vault)
    check = check_of(vault, options.apns_production_url, options.apns_sandbox_url, options.apns_ca_file)
    desk = Desk(administration, check, token, options)
    # paths may hold what a person took for a name, so requests are not logged; changes are, by their own names
    # and bodies are not unpacked: aiohttp would go on with one that was refused
    runner = Runner(
        desk.application(), access_log=None, shutdown_timeout=options.grace_s, auto_decompress=False
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=options.backlog).start()
        LOG.info("admin API on http://%s:%d", *listener.getsockname()[:2])
        while not stop.is_set():
            pulse()
            await wait(stop, PULSE_EVERY_S)
        LOG.info("admin API stops")
    finally:
        await runner.cleanup()
        await administration.close()
    return 0
