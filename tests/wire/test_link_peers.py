"""One link whose peer is made of bytes, for what no server does that means well; its clock is set by hand."""

import asyncio
import math
import struct

import pytest
from rig import Watcher, run

from engine.apns.headers import Held, ProfileBook
from engine.apns.identity import Badge
from engine.apns.outcomes import DISCONNECTED, OVERDUE, UNPROCESSED, Refused
from engine.link.link import REPLIES_MOST, Link, Phase
from shards.job import Job

STATUS_200 = b"\x88"
STATUS_410 = b"\x08\x03410"


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


SETTINGS = frame(4, 0, 0) + frame(4, 1, 0)


class Wire(asyncio.Transport):
    """Where a link writes to: keeps the bytes, and how the link ended it."""

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


PING = frame(6, 0, 0, b"12345678")
NO_STREAM = frame(4, 0, 0, struct.pack(">HI", 3, 0))
ONE_STREAM = frame(4, 0, 0, struct.pack(">HI", 3, 1))


def stuck_s(line: Line, seconds: int) -> float:
    """How long the link has been stuck after so long, looked at twice a second while the peer pings."""
    for _ in range(2 * seconds):
        line.now_s += 0.5
        line.link.data_received(PING)
        facts = line.link.facts(waiting=True)
    return facts.stuck_s


def test_a_peer_that_allows_no_stream_leaves_the_link_stuck_however_much_it_says() -> None:
    async def scenario() -> None:
        line = Line(NO_STREAM + SETTINGS[9:])
        assert line.link.facts(waiting=True).stuck_s == 0.0
        assert stuck_s(line, 40) == 40.0
        assert line.link.phase is Phase.PROBING

    run(scenario)


def test_a_peer_that_returns_no_window_leaves_the_link_stuck_however_much_it_says() -> None:
    async def scenario() -> None:
        line = Line()
        line.prove()
        held: list[Held] = [(Job(b"id", b"ab", "t", bytes(4_000)), None)] * 17
        taken = line.link.send(held, 17)
        assert taken == 16
        # while pushes are under way it is not stuck
        assert stuck_s(line, 5) == 0.0
        line.link.data_received(b"".join(frame(1, 5, 2 * n + 3, STATUS_200) for n in range(taken)))
        assert line.link.send(held, 1) == 0
        assert stuck_s(line, 40) == 39.5

    run(scenario)


@pytest.mark.parametrize("waiting", [False, True])
def test_a_link_with_room_or_without_work_is_not_stuck(waiting: bool) -> None:
    async def scenario() -> None:
        line = Line(NO_STREAM + SETTINGS[9:])
        assert stuck_s(line, 20) == 19.5
        if waiting:
            line.link.data_received(ONE_STREAM)
        assert line.link.facts(waiting).stuck_s == 0.0
        line.link.data_received(NO_STREAM)
        assert stuck_s(line, 10) == 9.5

    run(scenario)


def test_a_link_that_took_a_push_between_two_looks_was_not_stuck_until_then() -> None:
    async def scenario() -> None:
        line = Line(NO_STREAM + SETTINGS[9:])
        stuck_s(line, 20)
        line.link.data_received(ONE_STREAM)
        line.push(1)
        line.link.data_received(frame(1, 5, 1, STATUS_200) + NO_STREAM)
        assert stuck_s(line, 10) == 10.0

    run(scenario)


@pytest.mark.parametrize("flood", [PING, frame(4, 0, 0)])
def test_a_peer_that_asks_on_while_it_reads_nothing_is_given_up(
    flood: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        line = Line()
        line.prove()
        [held] = line.push(1)
        # however much it is while the transport takes it
        line.link.data_received(flood * 10_000)
        line.link.pause_writing()
        line.link.data_received(flood * REPLIES_MOST)
        assert line.wire.ended == ""
        line.link.resume_writing()
        line.link.pause_writing()
        line.link.data_received(flood * REPLIES_MOST)
        assert line.wire.ended == ""
        line.link.data_received(frame(1, 5, 3, STATUS_200) + flood)
        assert line.wire.ended == "aborted"
        assert "reads nothing" in caplog.text
        # what came in the same bytes is not lost
        assert line.watcher.accepted == [held]
        assert not line.link.usable

    run(scenario)


def test_bodies_that_go_on_while_writing_is_paused_are_no_reason_to_give_a_link_up() -> None:
    async def scenario() -> None:
        line = Line(frame(4, 0, 0, struct.pack(">HI", 4, 0)) + frame(4, 1, 0))
        line.prove()
        line.push(3 * REPLIES_MOST, 3 * REPLIES_MOST)
        line.link.pause_writing()
        written = len(line.wire.written)
        line.link.data_received(frame(4, 0, 0, struct.pack(">HI", 4, 100)))
        assert len(line.wire.written) > written + 3 * REPLIES_MOST * len(b"{}")
        assert line.wire.ended == "" and line.link.usable

    run(scenario)
