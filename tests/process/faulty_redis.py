"""A go-between on the way to Redis that can swallow the answer to a script, as a crash in the wrong moment would."""

import asyncio
from pathlib import Path

from shards.redis import script


class FaultyRedis:
    """Relays connections to a Redis on a unix socket; ``swallow`` arms it for one answer.

    Redis has then done what it was asked, and whoever asked sees its connection end instead of the answer.
    """

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._target = redis_url.removeprefix("unix://")
        self._socket = directory / "faulty.sock"
        self.url = f"unix://{self._socket}"
        self.swallowed = 0
        self._sha1 = self._part = b""
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FaultyRedis":
        self._server = await asyncio.start_unix_server(self._relay, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        relays = tuple(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    def swallow(self, verb: str, part: bytes = b"") -> None:
        """The next answer to this script that contains ``part`` is lost."""
        self._sha1, self._part = script(verb).sha1.encode(), part

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        asked = asyncio.Event()
        try:
            upstream, downstream = await asyncio.open_unix_connection(self._target)
            back = asyncio.ensure_future(self._pass_on(upstream, writer, asked))
            try:
                while data := await reader.read(1 << 18):
                    if self._sha1 and self._sha1 in data:
                        asked.set()
                    downstream.write(data)
            finally:
                back.cancel()
                downstream.close()
        except (OSError, asyncio.CancelledError):
            # the latter at the end: asyncio's streams can't bear a task that was cancelled
            pass
        finally:
            self._relays.discard(task)
            writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 18):
            if asked.is_set() and self._sha1 and self._part in data:
                self._sha1 = b""
                self.swallowed += 1
                break
            asked.clear()
            writer.write(data)
        writer.close()
