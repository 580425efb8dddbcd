"""The ``h2`` library, driven directly: many streams, and one write for all that a read gives cause for.

To its advantage, what is sent is neither validated nor normalised, and nothing is kept per push.
"""

import asyncio
from typing import Any, Final

import h2.config
import h2.connection
import h2.events

from loadtest.peers.task import Task, main, new_push, trusting

# the sink's limits have to come first
SETTLE_S: Final = 0.2


class Link(asyncio.Protocol):
    """One connection, with ``window`` streams open until all pushes are answered."""

    def __init__(self, task: Task, pushes: int, window: int) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        config = h2.config.H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._codec = h2.connection.H2Connection(config)
        self._window = window
        self._to_send = self._to_come = pushes
        self._refused = 0
        self._body = task.payload.encode()
        self._before = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", task.host.encode()),
        ]
        self._behind = [
            (b"authorization", b"bearer " + task.bearer.encode()),
            (b"apns-topic", task.topic.encode()),
            (b"apns-push-type", b"alert"),
        ]

    def __repr__(self) -> str:
        return f"<Link to_send={self._to_send} to_come={self._to_come}>"

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._codec.initiate_connection()
        transport.write(self._codec.data_to_send())
        asyncio.get_running_loop().call_later(SETTLE_S, self._open, self._window)

    def data_received(self, data: bytes) -> None:
        answers = 0
        for event in self._codec.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self._refused += (b":status", b"200") not in event.headers
            elif isinstance(event, h2.events.StreamEnded):
                answers += 1
        self._to_come -= answers
        self._open(answers)
        if not self._to_come and not self.done.done():
            self.done.set_result(self._refused)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the sink closed the connection"))

    def _open(self, streams: int) -> None:
        streams = min(streams, self._to_send)
        self._to_send -= streams
        for _ in range(streams):
            push = new_push()
            path = (b":path", b"/3/device/" + push.device_token.encode())
            apns_id = (b"apns-id", push.apns_id.encode())
            stream_id = self._codec.get_next_available_stream_id()
            self._codec.send_headers(stream_id, [*self._before, path, *self._behind, apns_id])
            self._codec.send_data(stream_id, self._body, end_stream=True)
        self._transport.write(self._codec.data_to_send())


async def send_all(task: Task) -> int:
    """Returns how many pushes were refused."""
    connections, window = task.settings["connections"], task.settings["window"]
    shares = [
        task.pushes // connections + (number < task.pushes % connections) for number in range(connections)
    ]
    links = [Link(task, share, window // connections) for share in shares if share]
    waiting = iter(links)
    for _ in links:
        await asyncio.get_running_loop().create_connection(
            lambda: next(waiting), task.host, task.port, ssl=trusting(task)
        )
    return sum(await asyncio.gather(*(link.done for link in links)))


if __name__ == "__main__":
    main(send_all)
