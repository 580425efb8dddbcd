"""The simulator as an object: start it in a running loop, tell it teams and scripts, ask its ledger.

    async with Simulator(SimulatorOptions()) as simulator:
        simulator.register(Team(team_id=..., key_id=..., public_key_pem=..., topics=("com.example.app",)))
        ...  # push to simulator.port, trusting simulator.ca_file
        assert simulator.ledger.accepted(apns_id) == 1

Works on asyncio's own loop and on uvloop. A stopped simulator leaves no task, timer or socket behind.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from loadtest.simulator.authority import Authority, ensure_authority
from loadtest.simulator.connection import Connection
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.registry import Device, Team
from loadtest.simulator.script import Script, decode_rules
from loadtest.simulator.world import SimulatorOptions, World

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
        self._server: asyncio.Server | None = None
        self._authority: Authority | None = None
        self._own_tls_dir: tempfile.TemporaryDirectory[str] | None = None
        self._emptied = asyncio.Event()

    def __repr__(self) -> str:
        port = self._server.sockets[0].getsockname()[1] if self._server is not None else "stopped"
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
        assert self._server is not None, "the simulator is not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def ca_file(self) -> Path:
        """The PEM file that a client must trust."""
        assert self._authority is not None, "the simulator is not started"
        return self._authority.ca_file

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
        self._world.script = Script(decode_rules(rules), self.options.seed if seed is None else seed)

    async def start(self) -> None:
        """Listen. OSError if the port cannot be had."""
        directory = self.options.tls_dir
        if directory is None:
            self._own_tls_dir = tempfile.TemporaryDirectory(prefix="clarion-simulator-")
            directory = Path(self._own_tls_dir.name)
        self._authority = ensure_authority(directory)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(loop, self._world, self._connections.add, self._on_gone),
                self.options.host,
                self.options.port,
                ssl=self._authority.server_context(),
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
        except OSError:
            self._forget_tls_dir()
            raise

    async def stop(self) -> None:
        """Stop listening, cut every connection and wait until all are gone. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            await asyncio.wait_for(self._emptied.wait(), STOP_TIMEOUT_S)
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
        if not self._connections and self._server is None:
            self._emptied.set()

    def _forget_tls_dir(self) -> None:
        if self._own_tls_dir is not None:
            self._own_tls_dir.cleanup()
            self._own_tls_dir = None
