"""What granian runs in the codec's tests: an ASGI application that counts pushes and checks that their parts agree.

`/count` answers with the counts; any other push is answered 200, or 410 with a body when its number is divisible
by 50.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

counts = {"pushes": 0, "wrong": 0}
seen: set[bytes] = set()


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/count":
        await answer(send, 200, json.dumps(counts).encode())
        return
    headers = dict(scope["headers"])
    number = json.loads(body)["n"]
    counts["pushes"] += 1
    agree = headers[b"apns-id"] == b"id-%d" % number and scope["path"] == f"/3/device/{number:064x}"
    agree &= headers[b"apns-topic"] == b"com.example.app%d" % (number % 4) and scope["method"] == "POST"
    agree &= headers[b"authorization"] == b"bearer " + b"t" * 200 and headers[b"apns-id"] not in seen
    seen.add(headers[b"apns-id"])
    counts["wrong"] += not agree
    if number % 50:
        await answer(send, 200, b"")
    else:
        await answer(send, 410, b'{"reason":"Unregistered"}')


async def answer(send: Callable[[dict[str, Any]], Awaitable[None]], status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
