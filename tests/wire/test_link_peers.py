"""One link whose peer is made of bytes, for what no server does that means well; its clock is set by hand."""

import asyncio
import math
import struct

import pytest
from rig import Watcher, run

from engine.apns.headers import Held, ProfileBook
from engine.apns.identity import Badge
from engine.apns.outcomes import DISCONNECTED, OVERDUE, UNPROCESSED, Refused
from engine.link.link import Link, Phase
from shards.job import Job

STATUS_200 = b"\x88"
STATUS_410 = b"\x08\x03410"


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


SETTINGS = frame(4, 0, 0) + frame(4, 1, 0)


class Wire(asyncio.Transport):
    """Where a link writes to: keeps the bytes, and tells the link of its end when the link has ended it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Line:
    """A link that a test speaks to as its peer."""

    def __init__(self, settings: bytes = SETTINGS) -> None:
        self.now_s = 0.0
        self.watcher = Watcher()
        self.wire = Wire()
        self.link = Link(self.watcher, ProfileBook(b"a", Badge((), math.inf)), lambda: self.now_s)
        self.link.connection_made(self.wire)
        self.link.data_received(settings)

    def push(self, number: int, most: int = 1_000) -> list[Held]:
        held: list[Held] = [(Job(b"id-%d" % n, b"ab", "t", b"{}"), None) for n in range(number)]
        assert self.link.send(held, min(most, self.link.room())) == number
        return held

    def prove(self) -> None:
        """Have a push accepted, so that the link takes many."""
        self.push(1)
        self.link.data_received(frame(1, 5, 1, STATUS_200))
        assert self.link.phase is Phase.OPEN
        self.watcher.accepted.clear()


@pytest.mark.parametrize("end", ["disconnect", "deadline", "goaway", "reset", "fault"])
def test_a_status_that_has_come_is_the_answer_however_its_stream_ends(end: str) -> None:
    async def scenario() -> None:
        line = Line()
        line.prove()
        [accepted, refused, unanswered] = line.push(3)
        line.link.data_received(frame(1, 4, 3, STATUS_200) + frame(1, 4, 5, STATUS_410))
        lost = []
        match end:
            case "disconnect":
                line.link.connection_lost(None)
                lost = [(unanswered, DISCONNECTED)]
            case "deadline":
                line.now_s = 31.0
                line.link.overdue(30.0)
                lost = [(unanswered, OVERDUE)]
            case "goaway":
                line.link.data_received(frame(7, 0, 0, struct.pack(">II", 0, 0)))
                lost = [(unanswered, UNPROCESSED)]
            case "reset":
                line.link.data_received(frame(3, 0, 3, bytes(4)) + frame(3, 0, 5, bytes(4)))
            case "fault":
                line.link.data_received(frame(8, 0, 3, bytes(4)) + frame(8, 0, 5, bytes(4)))
        assert line.watcher.accepted == [accepted]
        assert line.watcher.others == [(refused, Refused(410, "")), *lost]

    run(scenario)


def test_a_link_is_proved_by_a_status_that_came_before_its_end() -> None:
    async def scenario() -> None:
        line = Line()
        [probe] = line.push(1)
        line.link.data_received(frame(1, 4, 1, STATUS_200))
        line.now_s = 31.0
        line.link.overdue(30.0)
        assert line.watcher.accepted == [probe]
        assert (line.link.proved, line.link.phase) == (True, Phase.OPEN)
        assert not line.link.facts(waiting=True).unanswered

    run(scenario)
