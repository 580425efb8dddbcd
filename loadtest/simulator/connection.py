"""The asyncio shell of a session: TLS bytes in, TLS bytes out, the injected round trip, the end.

One read is one batch is one write. With a round-trip time, each direction is a timeline that holds bytes
back for half of it: nothing is reordered, and nothing is slowed down but by the waiting. What is delayed is
all of HTTP/2 (requests, answers, SETTINGS, window updates); the TLS handshake below it is not.

Bytes that were under way when the client vanished still arrive half a round trip later, as they would at
Apple: a push can be accepted after the death of the process that sent it.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from loadtest.simulator.push_authority import read_push_certificate
from loadtest.simulator.session import Session
from loadtest.simulator.timeline import Timeline
from loadtest.simulator.world import World


class Connection(asyncio.Protocol):
    """One accepted connection. Tells `gone` when nothing of it is left in the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        world: World,
        born: Callable[["Connection"], None],
        gone: Callable[["Connection"], None],
    ) -> None:
        self._loop = loop
        self._world = world
        self._born = born
        self._gone = gone
        self._half_rtt_s = world.options.rtt_s / 2
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._steps: Timeline[Callable[[], None]] = Timeline(loop, self._on_steps)
        # b"" stands for the end of the bytes: on the way in, the client is gone; out, close the transport.
        self._inbound: Timeline[bytes] = Timeline(loop, self._on_arrival)
        self._outbound: Timeline[bytes] = Timeline(loop, self._on_departure)
        self._closes = False

    def __repr__(self) -> str:
        return f"<Connection {self._session!r} inbound={self._inbound!r} outbound={self._outbound!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport but do not descend from it.
        self._transport = cast(asyncio.Transport, transport)
        self._born(self)
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            # Apple speaks HTTP/2 only and is said to drop anything else at this stage.
            self._transport.abort()
            return
        self._world.ledger.opened()
        shown = tls.getpeercert(binary_form=True)
        certificate = None if shown is None else read_push_certificate(shown)
        number = self._world.next_connection_number()
        self._session = Session(self._world, number, self._steps_later, certificate)
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._half_rtt_s:
            self._inbound.put(data, self._half_rtt_s)
        else:
            self._on_arrival([data])

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._outbound.stop()
        if self._half_rtt_s and self._session is not None and not self._session.end:
            self._inbound.put(b"", self._half_rtt_s)
        else:
            self.stop()

    def stop(self) -> None:
        """End everything now. Idempotent."""
        self._inbound.stop()
        self._outbound.stop()
        self._steps.stop()
        if self._transport is not None:
            self._transport.abort()
        else:
            self._gone(self)

    def _steps_later(self, delay_s: float, step: Callable[[], None]) -> None:
        self._steps.put(step, delay_s)

    def _on_steps(self, steps: list[Callable[[], None]]) -> None:
        for step in steps:
            step()
        self._flush()

    def _on_arrival(self, received: list[bytes]) -> None:
        session = self._session
        if session is None:
            return
        is_over = not received[-1]
        session.receive(received[0] if len(received) == 1 else b"".join(received))
        if is_over:
            self.stop()
        else:
            self._flush()

    def _flush(self) -> None:
        session = self._session
        if session is None or self._transport is None or self._closes:
            return
        if session.end == "abort":
            self.stop()
            return
        if session.end == "black_hole":
            # The client's bytes pile up in the kernel until its own window is full.
            self._closes = True
            self._transport.pause_reading()
            return
        if session.is_deaf and self._transport.is_reading():
            self._transport.pause_reading()
        out = session.take()
        if out:
            self._depart(out)
        if session.end == "close":
            self._closes = True
            self._depart(b"")

    def _depart(self, out: bytes) -> None:
        if self._half_rtt_s:
            self._outbound.put(out, self._half_rtt_s)
        else:
            self._on_departure([out])

    def _on_departure(self, departing: list[bytes]) -> None:
        if self._transport is None:
            return
        self._transport.write(departing[0] if len(departing) == 1 else b"".join(departing))
        if not departing[-1]:
            self._transport.close()
