"""Batches of pushes at a fixed rate, whatever becomes of them: the load on a whole gateway, a process of its own.

Open loop: each batch has a time at which it is due, and leaves then, on a connection that is idle or a new one; the
fate of earlier batches delays none. What was not accepted is not sent again, since then the rate would follow the
gateway's health; it is only counted, by what the client can know about it:

- *accepted*: answered 202 (or 207, for the items that have an id): these must arrive;
- *refused*: answered 503 with the word that nothing was stored: these must not arrive;
- *in doubt*: answered 503 "store-in-doubt", or the connection ended before the answer: these may arrive, or not;
- *unsent*: no connection could be opened.

Tenants send in turn, one more often than another by their weights, each in its lane; a batch of one is a single push.
The log is an append-only file of length-prefixed msgpack records, one for each batch.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from io import FileIO
from itertools import cycle, takewhile
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import uvloop

from loadtest.bench.lab import api_request, device_token, payload

ID_BYTES: Final = 36
ANSWER_S: Final = 20.0
CONNECT_S: Final = 5.0
# different requests for each tenant, so that a tenant's devices are spread over its shards
BODIES: Final = 128
CONNECTIONS_MOST: Final = 900
# what is due is looked at so often: a timer for each request would cost more than the request
TICK_S: Final = 0.001

Kind = Literal["accepted", "refused", "in_doubt", "unsent"]


class Sender(msgspec.Struct, frozen=True):
    """A tenant as the load sees it. It sends ``weight`` batches while one of weight 1 sends one."""

    api_key: str
    topic: str
    lane: str = "high"
    weight: int = 1


class Load(msgspec.Struct, frozen=True):
    """What to send. ``batch`` pushes at once, ``per_s`` pushes each second."""

    port: int
    senders: Sequence[Sender]
    seconds: float
    per_s: int
    batch: int
    payload_bytes: int
    log: str


class Exchange(msgspec.Struct, array_like=True, frozen=True):
    """One batch and its fate. Times are Unix seconds; ``ids`` are those accepted, 36 bytes each; ``sender`` is the
    place of its tenant among the senders."""

    due_s: float
    ended_s: float
    kind: Kind
    pushes: int
    ids: bytes = b""
    sender: int = 0


class _Result(msgspec.Struct):
    id: str = ""


class _Answer(msgspec.Struct):
    """To a batch, or to a single push, which has an id of its own."""

    results: list[_Result] = []
    id: str = ""


class _Problem(msgspec.Struct):
    code: str = ""


_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_problem: Final = msgspec.json.Decoder(_Problem).decode


def exchanges(log: Path) -> Iterator[Exchange]:
    """What the load has written."""
    decode = msgspec.msgpack.Decoder(Exchange).decode
    with log.open("rb") as file:
        while head := file.read(4):
            yield decode(file.read(int.from_bytes(head)))


def fates(
    status: int, body: bytes, pushes: int, due_s: float, ended_s: float, sender: int = 0
) -> list[Exchange]:
    """What an answer says of its batch: one exchange, or two for a batch of which a part was refused."""
    if status in (202, 207):
        answer = _decode_answer(body)
        ids = "".join((answer.id, *(result.id for result in answer.results))).encode()
        accepted = len(ids) // ID_BYTES
        parts = [Exchange(due_s, ended_s, "accepted", accepted, ids, sender)] if accepted else []
        if accepted < pushes:
            parts.append(Exchange(due_s, ended_s, "refused", pushes - accepted, sender=sender))
        return parts
    if status == 503 and _decode_problem(body).code != "store-in-doubt":
        return [Exchange(due_s, ended_s, "refused", pushes, sender=sender)]
    return [Exchange(due_s, ended_s, "in_doubt", pushes, sender=sender)]


def turns(weights: Sequence[int]) -> list[int]:
    """Whose turn it is, by places, in a round in which each has as many turns as its weight, far apart."""
    earned = [0] * len(weights)
    order: list[int] = []
    for _ in range(sum(weights)):
        earned = [so_far + weight for so_far, weight in zip(earned, weights, strict=True)]
        chosen = max(range(len(weights)), key=earned.__getitem__)
        earned[chosen] -= sum(weights)
        order.append(chosen)
    return order


class _Connection(asyncio.Protocol):
    """A keep-alive connection with at most one batch under way."""

    def __init__(self, load: "_Loader") -> None:
        self._load = load
        self._answer = b""
        self._due_s = 0.0
        self._sender = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport but do not descend from it
        self._transport = cast(asyncio.Transport, transport)
        self._load.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.open -= 1
        self._load.idle.discard(self)
        if self._load.answered(self):
            self._load.note(
                [Exchange(self._due_s, time.time(), "in_doubt", self._load.batch, sender=self._sender)]
            )

    def send(self, request: bytes, due_s: float, sender: int) -> None:
        if self._transport.is_closing():
            # ended while it was idle, and nobody has told us yet: nothing leaves
            self._load.give_up(due_s, sender)
            return
        self._due_s, self._sender = due_s, sender
        self._load.asked(self)
        self._transport.write(request)

    def abort(self) -> None:
        """No answer comes."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0]):
            return
        self._answer = b""
        self._load.answered(self)
        self._load.note(
            fates(int(head[9:12]), body, self._load.batch, self._due_s, time.time(), self._sender)
        )
        if b"\r\nConnection: close" in head:
            self._transport.close()
        else:
            self._load.idle.add(self)


class _Loader:
    """Sends the batches when they are due."""

    def __init__(self, load: Load) -> None:
        self.batch = load.batch
        self.idle: set[_Connection] = set()
        self.open = 0
        # without a fate; those under way with the time until which an answer is waited for, which is in their order
        self._open_fates = 0
        self._until_s: dict[_Connection, float] = {}
        self._plan = load
        self._whose = cycle(turns([sender.weight for sender in load.senders]))
        self._log = FileIO(load.log, "ab")
        self._notes: list[bytes] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._requests = [
            cycle([_request(sender, load.batch, load.payload_bytes) for _ in range(BODIES)])
            for sender in load.senders
        ]

    def note(self, parts: Sequence[Exchange]) -> None:
        """For the log, at the end of the tick."""
        for part in parts:
            record = msgspec.msgpack.encode(part)
            self._notes += (len(record).to_bytes(4), record)

    def asked(self, connection: _Connection) -> None:
        """A batch has left on it."""
        self._until_s[connection] = time.monotonic() + ANSWER_S

    def answered(self, connection: _Connection) -> bool:
        """Whether a batch was under way on it, which has its fate now."""
        if self._until_s.pop(connection, None) is None:
            return False
        self._open_fates -= 1
        return True

    async def run(self) -> None:
        """All batches; returns when each has its fate."""
        plan = self._plan
        begin_s, every_s = time.time(), plan.batch / plan.per_s
        batches = self._open_fates = int(plan.seconds / every_s)
        sent = 0
        while self._open_fates:
            due = min(batches, 1 + int((time.time() - begin_s) / every_s))
            for number in range(sent, due):
                self._send(begin_s + number * every_s)
            sent = max(sent, due)
            self._end_tick()
            next_s = begin_s + sent * every_s if sent < batches else 0.0
            await asyncio.sleep(max(TICK_S, next_s - time.time()))
        self._end_tick()
        self._log.close()

    def _send(self, due_s: float) -> None:
        sender = next(self._whose)
        request = next(self._requests[sender])
        if self.idle:
            self.idle.pop().send(request, due_s, sender)
        elif self.open + len(self._opening) < CONNECTIONS_MOST:
            task = asyncio.create_task(self._send_anew(request, due_s, sender))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self.give_up(due_s, sender)

    def _end_tick(self) -> None:
        if self._notes:
            self._log.write(b"".join(self._notes))
            self._notes.clear()
        now_s = time.monotonic()
        # in doubt when the connection has ended, a moment later
        for connection in [
            each for each, _ in takewhile(lambda each: each[1] <= now_s, self._until_s.items())
        ]:
            connection.abort()

    async def _send_anew(self, request: bytes, due_s: float, sender: int) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), "127.0.0.1", self._plan.port
                )
        except OSError:
            self.give_up(due_s, sender)
        else:
            connection.send(request, due_s, sender)

    def give_up(self, due_s: float, sender: int) -> None:
        """A batch can't be sent."""
        self._open_fates -= 1
        self.note([Exchange(due_s, time.time(), "unsent", self.batch, sender=sender)])


def _request(sender: Sender, batch: int, payload_bytes: int) -> bytes:
    topic, lane, body = sender.topic.encode(), sender.lane.encode(), payload(payload_bytes)
    items = b",".join(
        b'{"device_token":"%b","topic":"%b","lane":"%b","payload":%b}' % (device_token(), topic, lane, body)
        for _ in range(batch)
    )
    path, content = ("/v1/push", items) if batch == 1 else ("/v1/push/batch", b"[%b]" % items)
    return api_request(path, sender.api_key, content)


if __name__ == "__main__":
    uvloop.run(_Loader(msgspec.json.decode(sys.argv[1].encode(), type=Load)).run())
