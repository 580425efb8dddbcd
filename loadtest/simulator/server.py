"""The simulator as an object: start it in a running loop, tell it teams and scripts, ask its ledger.

    async with Simulator(SimulatorOptions()) as simulator:
        simulator.register(Team(team_id=..., key_id=..., public_key_pem=..., topics=("com.example.app",)))
        ...  # push to simulator.port, trusting simulator.ca_file
        assert simulator.ledger.accepted(apns_id) == 1

Works on asyncio's own loop and on uvloop. A stopped simulator leaves no task, timer or socket behind.
"""

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from loadtest.simulator.authority import Authority, ensure_authority
from loadtest.simulator.connection import Connection
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.push_authority import PushAuthority, ensure_push_authority
from loadtest.simulator.registry import Device, Team
from loadtest.simulator.scenarios import narrowed, scenario
from loadtest.simulator.script import Script, decode_rules
from loadtest.simulator.world import Accept, SimulatorOptions, World

HANDSHAKE_TIMEOUT_S = 10.0
# A client that does not answer the end of TLS is dropped after this, not after asyncio's 30 seconds.
SHUTDOWN_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 5.0
BACKLOG = 1024

__all__ = ["Device", "Simulator", "SimulatorOptions", "Team"]


class Simulator:
    """A look-alike of Apple's push service on a loopback port.

    `clock` is wall time in seconds; a test that has to wait for twenty minutes hands in its own.
    """

    def __init__(
        self, options: SimulatorOptions | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.options = SimulatorOptions() if options is None else options
        self._world = World(self.options, clock)
        self._connections: set[Connection] = set()
        # bound for as long as this runs, so that the port stays ours while connections are refused
        self._place: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._stalling: socket.socket | None = None
        self._authority: Authority | None = None
        self._push_authority: PushAuthority | None = None
        self._own_tls_dir: tempfile.TemporaryDirectory[str] | None = None
        self._emptied = asyncio.Event()

    def __repr__(self) -> str:
        port = self.port if self._place is not None else "stopped"
        return f"<Simulator {port} connections={len(self._connections)} {self._world!r}>"

    @property
    def ledger(self) -> Ledger:
        """Every attempt that arrived."""
        return self._world.ledger

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self.options.host

    @property
    def port(self) -> int:
        """The port that it listens on, also when port 0 was asked for."""
        assert self._place is not None, "the simulator is not started"
        port: int = self._place.getsockname()[1]
        return port

    @property
    def ca_file(self) -> Path:
        """The PEM file that a client must trust."""
        assert self._authority is not None, "the simulator is not started"
        return self._authority.ca_file

    @property
    def push_authority(self) -> PushAuthority:
        """It issues the push certificates that clients may show."""
        assert self._push_authority is not None, "the simulator is not started"
        return self._push_authority

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    def register(self, team: Team) -> None:
        """Add or replace a team's key. ValueError if its public key cannot be used."""
        self._world.registry.register(team)

    def tell(self, device: Device) -> None:
        """Set the fate of one device token."""
        self._world.registry.tell(device)

    def script(self, rules: bytes | Sequence[object], seed: int | None = None) -> None:
        """Replace the script by these rules (Rule objects, decoded JSON or JSON bytes); none to end it.

        ValueError says what is wrong with which rule; the old script then stays.
        """
        rules_read = decode_rules(rules)
        self._world.script = Script(
            rules_read, self.options.seed if seed is None else seed, self._world.connections
        )

    async def play(
        self, name: str, *, team: str | None = None, connection: int | None = None, slowness: float = 1.0
    ) -> None:
        """Replace the script by a field scenario (`S14`, or its name), and accept connections as it says.

        `team` and `connection` narrow it to their pushes; `slowness` multiplies its times. ValueError if there
        is no such scenario.
        """
        played = scenario(name)
        self.script(narrowed(played.rules, team=team, connection=connection, slowness=slowness))
        await self.accept(played.accept)

    async def accept(self, accept: Accept) -> None:
        """What becomes of new connections from now on; those that there are stay."""
        place, authority = self._place, self._authority
        assert place is not None and authority is not None, "the simulator is not started"
        if self._stalling is not None:
            self._stalling.close()
            self._stalling = None
        if accept == "serve" and self._server is not None:
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        if accept == "stall":
            # the kernel shakes hands for us, and nobody takes the connection from it
            self._stalling = _bound(self.options.host, self.port)
            self._stalling.listen(BACKLOG)
        elif accept == "serve":
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: Connection(loop, self._world, self._connections.add, self._on_gone),
                sock=_bound(self.options.host, self.port),
                ssl=authority.server_context(self.push_authority.ca_file),
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )

    async def start(self) -> None:
        """Listen. OSError if the port cannot be had."""
        directory = self.options.tls_dir
        if directory is None:
            self._own_tls_dir = tempfile.TemporaryDirectory(prefix="clarion-simulator-")
            directory = Path(self._own_tls_dir.name)
        self._authority = ensure_authority(directory)
        self._push_authority = ensure_push_authority(directory)
        try:
            self._place = _bound(self.options.host, self.options.port)
            await self.accept(self.options.accept)
        except OSError:
            self._forget_place()
            self._forget_tls_dir()
            raise

    async def stop(self) -> None:
        """Stop listening, cut every connection and wait until all are gone. Idempotent."""
        if self._place is None:
            return
        server = self._server
        await self.accept("refuse")
        self._forget_place()
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            await asyncio.wait_for(self._emptied.wait(), STOP_TIMEOUT_S)
        if server is not None:
            await asyncio.wait_for(server.wait_closed(), STOP_TIMEOUT_S)
        self._forget_tls_dir()

    async def __aenter__(self) -> "Simulator":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _on_gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._place is None:
            self._emptied.set()

    def _forget_place(self) -> None:
        if self._place is not None:
            self._place.close()
            self._place = None

    def _forget_tls_dir(self) -> None:
        if self._own_tls_dir is not None:
            self._own_tls_dir.cleanup()
            self._own_tls_dir = None


def _bound(host: str, port: int) -> socket.socket:
    """A socket with this address that does not listen: a connection to it is refused. Several may have the same one,
    of which one may listen."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
