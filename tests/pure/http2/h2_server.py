"""A server that behaves legally and unpredictably: the `h2` library, told by a plan what to do next.

A plan is a list of steps, each a verb and three numbers, so that any plan means something and a failing one can be
made shorter. The server holds what it said of each stream in ``said``; the client has to have understood that.
GOAWAY is spelled by hand, because `h2` takes nothing more once it has said it.

An impatient server sends SETTINGS while earlier ones are unacknowledged. That is legal, but `h2` then takes the first
acknowledgement for one of all of them, and blames the client for what it may still do; so it must not be listening.
"""

from __future__ import annotations

from typing import Any

import h2.events
from frame_factory import goaway
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hypothesis import strategies as st

from engine.http2.connection import Connection
from engine.http2.events import Answered, ConnectionFault, GoingAway, StreamFault, StreamReset
from engine.http2.request_writer import Request

STATUSES = (200, 200, 400, 403, 410, 429, 500, 503)
RESETS = (ErrorCodes.REFUSED_STREAM, ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR)
SETTINGS: tuple[dict[int, int], ...] = (
    {},
    {3: 1},
    {3: 0},
    {3: 100},
    {1: 0},
    {1: 4_096, 4: 65_535},
    {1: 200},
    {4: 0},
    {4: 1_000},
    {4: 100_000},
    {5: 20_000},
    {5: 16_384, 3: 5, 4: 5_000},
)
SERVER_VERBS = ("answer", "answer", "answer", "reset", "settings", "window", "goaway", "ping", "acknowledge")
CLIENT_VERBS = ("send", "send", "cancel", "renew", "talk", "talk", "talk")

number = st.integers(0, 2**16)


def plans(*verbs: str, least: int = 0, most: int = 30) -> st.SearchStrategy[list[tuple[str, int, int, int]]]:
    return st.lists(st.tuples(st.sampled_from(verbs), number, number, number), min_size=least, max_size=most)


class H2Server:
    """The server's side. ``open`` are the streams that it has heard of and not ended."""

    def __init__(self, *, patient: bool = True) -> None:
        self._patient = patient
        self._unheard_settings = 1
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.open: dict[int, None] = {}
        self.said: dict[int, tuple[Any, ...]] = {}
        self.bodies: dict[int, bytes] = {}
        self.whole: set[int] = set()
        self.last_id = 2**31 - 1
        self._spelled = b""
        self._unacknowledged: list[tuple[int, int]] = []
        self.h2.initiate_connection()

    def hear(self, data: bytes) -> None:
        """What the client wrote. Raises what `h2` raises when that is not legal."""
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.RequestReceived(stream_id=stream_id):
                    if stream_id <= self.last_id:
                        self.open[stream_id] = None
                    self.bodies[stream_id] = b""
                case h2.events.DataReceived(stream_id=stream_id, data=some):
                    self.bodies[stream_id] += some
                    self._unacknowledged.append((stream_id, event.flow_controlled_length))
                case h2.events.StreamEnded(stream_id=stream_id):
                    self.whole.add(stream_id)
                case h2.events.StreamReset(stream_id=stream_id):
                    self.open.pop(stream_id, None)
                case h2.events.SettingsAcknowledged():
                    self._unheard_settings -= 1

    def say(self) -> bytes:
        spelled, self._spelled = self._spelled, b""
        return spelled + self.h2.data_to_send()

    def step(self, verb: str, one: int, two: int, three: int) -> None:
        chosen = list(self.open)[one % len(self.open)] if self.open else 0
        match verb:
            case "answer" if chosen:
                self._answer(chosen, STATUSES[two % len(STATUSES)], three)
            case "reset" if chosen:
                self.h2.reset_stream(chosen, RESETS[two % len(RESETS)])
                self._over(chosen, ("reset", RESETS[two % len(RESETS)]))
            case "settings":
                self.announce(SETTINGS[one % len(SETTINGS)])
            case "window":
                # the windows of the most generous servers are far from 2^31-1 after a plan
                self.h2.increment_flow_control_window(1 + two, chosen if three % 2 and chosen else None)
            case "goaway":
                last = min(self.last_id, max(self.bodies, default=0) if two % 2 else 2 * (three % 20) + 1)
                self._spelled += self.h2.data_to_send() + goaway(last, two % 3)
                self.last_id = last
                for above in [stream_id for stream_id in self.open if stream_id > last]:
                    del self.open[above]
            case "ping":
                self.h2.ping(one.to_bytes(8))
            case "acknowledge":
                self.acknowledge()

    def announce(self, values: dict[int, int]) -> None:
        if not self._patient or not self._unheard_settings:
            self.h2.update_settings(values)
            self._unheard_settings += 1

    def acknowledge(self) -> None:
        """Use up what was received; `h2` decides when that is worth a WINDOW_UPDATE."""
        for stream_id, size in self._unacknowledged:
            self.h2.acknowledge_received_data(size, stream_id)
        self._unacknowledged.clear()

    def _answer(self, stream_id: int, status: int, shape: int) -> None:
        for _ in range(shape // 64 % 3):
            self.h2.send_headers(stream_id, [(":status", "103"), ("link", "x")])
        headers = [(":status", str(status)), ("apns-id", f"id-{stream_id}")]
        body = b"" if shape % 4 == 0 else b'{"reason":"' + b"r" * (shape // 8) + b'"}'
        # after its 8,192nd byte a body is cut, and `h2` must not go beyond what the client takes
        body = body[: min(8_000, self.h2.local_flow_control_window(stream_id) // 2)]
        if not body and shape % 8 == 0:
            self.h2.send_headers(stream_id, headers, end_stream=True)
            self._over(stream_id, ("status", status, b""))
            return
        self.h2.send_headers(stream_id, headers)
        padding = (
            shape % 256 if shape % 3 == 0 and self.h2.local_flow_control_window(stream_id) > 2_000 else None
        )
        half = len(body) // 2
        self.h2.send_data(stream_id, body[:half], pad_length=padding)
        if shape % 16 == 1:
            self.h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            self._over(stream_id, ("status", status, body[:half]))
            return
        if shape % 16 == 2:
            self.h2.send_data(stream_id, body[half:])
            self.h2.send_headers(stream_id, [("trailer", "x")], end_stream=True)
        else:
            self.h2.send_data(stream_id, body[half:], end_stream=True)
        self._over(stream_id, ("status", status, body))

    def _over(self, stream_id: int, said: tuple[Any, ...]) -> None:
        del self.open[stream_id]
        self.said[stream_id] = said


class Client:
    """Our side, its owner's books beside it: what became of each tag. Tags count up, so their streams are known."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.sent: list[Request] = []
        self.fates: dict[int, tuple[Any, ...]] = {}

    def send(self, requests: list[Request]) -> int:
        taken = self.connection.send(requests)
        self.sent += requests[:taken]
        return taken

    def hear(self, data: bytes) -> None:
        received = self.connection.receive(data)
        for tag in received.accepted:
            self.settle(tag, ("status", 200, b""))
        for event in received.events:
            match event:
                case Answered(tag=tag, status=status, body=body):
                    self.settle(tag, ("status", status, body))
                case StreamReset(tag=tag, code=code):
                    self.settle(tag, ("reset", code))
                case GoingAway(last_stream_id=last, unprocessed=tags):
                    for tag in tags:
                        self.settle(tag, ("unprocessed", last))
                case ConnectionFault() | StreamFault():
                    raise AssertionError(event)

    def cancel(self, stream_ids: list[int]) -> None:
        unanswered, accepted, events = self.connection.cancel(stream_ids)
        for tag in unanswered:
            self.settle(tag, ("cancelled",))
        for tag in accepted:
            self.settle(tag, ("cut", 200, b""))
        for event in events:
            assert isinstance(event, Answered)
            self.settle(event.tag, ("cut", event.status, event.body))

    def settle(self, tag: int, fate: tuple[Any, ...]) -> None:
        assert tag not in self.fates
        self.fates[tag] = fate
