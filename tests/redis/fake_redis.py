"""A server that speaks just enough of Redis' protocol to fail in ways that a real one does rarely."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import hiredis

SILENCE = b""
HANG_UP = None


@asynccontextmanager
async def fake_redis(
    answer: Callable[[list[bytes]], bytes | None], polite: Collection[bytes] = (b"CLIENT", b"SCRIPT")
) -> AsyncIterator[str]:
    """Yield the URL of a server that says OK to ``polite`` commands and answers each other one by ``answer(words)``.

    ``answer`` returns the bytes to send, SILENCE to leave the caller waiting, or HANG_UP to close the connection.
    """
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        parser = hiredis.Reader()
        try:
            while received := await reader.read(1 << 16):
                parser.feed(received)
                while words := parser.gets():
                    reply = b"+OK\r\n" if words[0] in polite else answer(words)
                    if reply is HANG_UP:
                        return
                    writer.write(reply)
        finally:
            writer.close()
            clients.discard(task)

    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        path = Path(directory) / "redis.sock"
        server = await asyncio.start_unix_server(serve, path)
        try:
            yield f"unix://{path}"
        finally:
            server.close()
            if clients:
                await asyncio.wait(clients, timeout=5.0)
