"""What a peer is told, and how a Python peer keeps so many pushes under way."""

import asyncio
import os
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import uvloop

TOKEN_BYTES: Final = 32
ID_BYTES: Final = 16


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The same for every peer, but for ``settings``, which are its own; it takes what it needs.

    ``bearer`` is a provider token for those who cannot sign one with the key. ``redis_socket`` and ``queue`` say where
    jobs wait, for a peer that has a queue.
    """

    host: str
    port: int
    origin: str
    ca_file: str
    pushes: int
    topic: str
    payload: str
    key_file: str
    key_id: str
    team_id: str
    bearer: str
    redis_socket: str = ""
    queue: str = ""
    settings: dict[str, int]


class Push(NamedTuple):
    """What differs from one push to the next."""

    device_token: str
    apns_id: str


def new_push() -> Push:
    digits = os.urandom(ID_BYTES).hex()
    apns_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return Push(os.urandom(TOKEN_BYTES).hex(), apns_id)


def trusting(task: Task) -> ssl.SSLContext:
    """TLS that trusts the sink, and speaks HTTP/2."""
    context = ssl.create_default_context(cafile=task.ca_file)
    context.set_alpn_protocols(["h2"])
    return context


async def keep_under_way(send: Callable[[Push], Awaitable[bool]], pushes: int, window: int) -> int:
    """Send, so many at a time; ``send`` says whether a push was accepted. Returns how many were not."""
    left, refused = pushes, 0

    async def send_in_turn() -> None:
        nonlocal left, refused
        while left:
            left -= 1
            accepted = await send(new_push())
            refused += not accepted

    await asyncio.gather(*(send_in_turn() for _ in range(window)))
    return refused


def main(send_all: Callable[[Task], Coroutine[Any, Any, int]]) -> None:
    """The program: reads its task, sends, and ends with code 1 if pushes were refused."""
    task = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)
    refused = uvloop.run(send_all(task))
    if refused:
        sys.exit(f"{refused} of {task.pushes} pushes were refused")
