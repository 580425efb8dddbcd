"""The simulator as a process: start, say where it is, serve until told to stop.

One line on standard output says all that a caller needs, as JSON:

    {"host": "127.0.0.1", "port": 2197, "ca_file": ".../ca.pem", "control_url": "http://127.0.0.1:2198"}

SIGTERM and SIGINT end it in order, with return code 0. A port that cannot be had is the caller's to mend: one
line on standard error says how, and the return code is 1.
"""

import asyncio
import contextlib
import errno
import signal
import sys
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from loadtest.simulator.control import control_app
from loadtest.simulator.scenarios import scenario
from loadtest.simulator.server import Simulator, SimulatorOptions

CONTROL_SHUTDOWN_TIMEOUT_S = 1.0


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the process. Port 0 is any free port. The CA and certificate are kept in `data_dir`.

    `scenario` is a field failure to play from the start, by number or name.
    """

    host: str = "127.0.0.1"
    port: int = 2197
    control_port: int = 2198
    data_dir: Path = Path(".clarion/simulator")
    rtt_ms: float = 0.0
    seed: int = 0
    scenario: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.control_port <= 65535:
            raise ValueError(f"control_port must be 0 (any free one) to 65535, not {self.control_port}")
        if self.scenario:
            scenario(self.scenario)

    def simulator_options(self) -> SimulatorOptions:
        """The part that the simulator itself takes. ValueError if one of them is bad."""
        return SimulatorOptions(
            host=self.host, port=self.port, tls_dir=self.data_dir, rtt_s=self.rtt_ms / 1000, seed=self.seed
        )


def run(options: RunOptions) -> int:
    """Serve until a signal. Returns the process's exit code."""
    try:
        simulator = Simulator(options.simulator_options())
    except ValueError as error:
        return _complain(str(error))
    return uvloop.run(_serve(simulator, options))


async def _serve(simulator: Simulator, options: RunOptions) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await simulator.start()
        except OSError as error:
            return _complain(_advice(error, options.host, options.port, "--port"))
        stack.push_async_callback(simulator.stop)
        if options.scenario:
            await simulator.play(options.scenario)
        runner = web.AppRunner(
            control_app(simulator), access_log=None, shutdown_timeout=CONTROL_SHUTDOWN_TIMEOUT_S
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        # Loopback whatever the host is: see the control door.
        site = web.TCPSite(runner, "127.0.0.1", options.control_port)
        try:
            await site.start()
        except OSError as error:
            return _complain(_advice(error, "127.0.0.1", options.control_port, "--control-port"))
        control_port = runner.addresses[0][1]
        whereabouts = {
            "host": options.host,
            "port": simulator.port,
            "ca_file": str(simulator.ca_file.resolve()),
            "control_url": f"http://127.0.0.1:{control_port}",
        }
        print(msgspec.json.encode(whereabouts).decode(), flush=True)
        await stopped.wait()
    return 0


def _advice(error: OSError, host: str, port: int, flag: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use: stop what uses it, or choose another with {flag} (0: any free)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} of {host} needs more rights: choose one above 1023 with {flag} (0: any free)"
    return f"cannot serve on port {port} of {host}: {error.strerror or error}"


def _complain(message: str) -> int:
    print(f"simulator: {message}", file=sys.stderr, flush=True)
    return 1
