"""What all connections of one simulator share, and the options that shape it."""

import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from loadtest.simulator.bearer import Bearers
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.registry import Environment, Registry
from loadtest.simulator.script import Script

Accept = Literal["serve", "stall", "refuse"]


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options with Apple's behaviour as defaults. ValueError says which one is bad.

    `tls_dir`: where the CA and the server certificate are kept; a temporary directory if None.
    `rtt_s`: round-trip time that is added, half of it in each direction.
    `streams_first`, `streams_max`: MAX_CONCURRENT_STREAMS before and after the first accepted push.
    `excess_streams`: refuse a stream above the limit, or end the connection with GOAWAY; Apple did both.
    `accept`: what becomes of new connections: `serve` them, `stall` before the TLS handshake, or `refuse` them.
    `seed`: of the chance in scripts.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls_dir: Path | None = None
    rtt_s: float = 0.0
    streams_first: int = 1
    streams_max: int = 1000
    excess_streams: Literal["refuse", "goaway"] = "refuse"
    environment: Environment = "production"
    accept: Accept = "serve"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 (any free one) to 65535, not {self.port}")
        if not 0 <= self.rtt_s <= 60:
            raise ValueError(f"rtt_s must be 0 to 60 seconds, not {self.rtt_s}")
        for name in ("streams_first", "streams_max"):
            if not 0 <= getattr(self, name) < 2**31:
                raise ValueError(f"{name} must be 0 to 2147483647, not {getattr(self, name)}")


class World:
    """The state behind every connection of one simulator."""

    def __init__(self, options: SimulatorOptions, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self.clock = clock
        self.registry = Registry(options.environment)
        self.bearers = Bearers(self.registry)
        self.ledger = Ledger()
        self.script = Script()
        self.connections = 0
        self._ids = random.Random()

    def __repr__(self) -> str:
        return f"<World {self.registry!r} {self.ledger!r} {self.script!r}>"

    def next_connection_number(self) -> int:
        """Connections are numbered from 1, in the order in which their handshakes ended."""
        self.connections += 1
        return self.connections

    def new_id(self) -> str:
        """An apns-id for a push that came without; upper case, as Apple's own were seen to be."""
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4)).upper()
