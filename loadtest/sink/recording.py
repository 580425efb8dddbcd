"""The recording sink as a process, and the caller's side that starts and stops it.

`python -m loadtest.sink.recording` prints where it listens, and when SIGTERM has ended it what it counted.
"""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import uvloop

from loadtest.programs import environment, program
from loadtest.simulator.authority import ensure_authority
from loadtest.sink.python import BACKLOG, SHUTDOWN_TIMEOUT_S, STREAMS, Count
from loadtest.sink.recorder import Faults, Recorder, RecordingProtocol

STOP_S: Final = 10.0


class RecordingSink:
    """A running recording sink. Use it as a context manager; `summary` is what it counted, after the end."""

    def __init__(self, directory: Path, faults: Faults = Faults(), streams: int = STREAMS) -> None:  # noqa: B008
        directory.mkdir(parents=True, exist_ok=True)
        self.record = directory / "record"
        self.summary: dict[str, int] = {}
        self._count = Count(directory / "pushes")
        settings = json.dumps([str(directory), streams, *faults])
        self._process = subprocess.Popen(
            program("loadtest.sink.recording", settings), stdout=subprocess.PIPE, env=environment()
        )
        said = self._said()
        self.port: int = said["port"]
        self.ca_file = Path(said["ca_file"])

    def __repr__(self) -> str:
        return f"<RecordingSink port={self.port} pid={self._process.pid} pushes={self.pushes()}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    def pushes(self) -> int:
        """How many pushes it has accepted so far, repeats among them."""
        return self._count.value()

    def stop(self) -> None:
        """End it, and hear what it counted. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self.summary = self._said()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> "RecordingSink":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the recording sink has ended with code {self._process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said


async def _serve(directory: Path, streams: int, faults: Faults) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    authority = ensure_authority(directory / "tls")
    recorder = Recorder(directory / "record", faults, Count(directory / "pushes").add)
    server = await loop.create_server(
        lambda: RecordingProtocol(recorder, streams),
        "127.0.0.1",
        0,
        ssl=authority.server_context(),
        backlog=BACKLOG,
        ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
    )
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "ca_file": str(authority.ca_file.resolve())}), flush=True)
    await stopped.wait()
    server.close()
    counts = ("accepted", "refused", "silent", "connections", "compared", "misread")
    print(json.dumps({name: getattr(recorder, name) for name in counts}), flush=True)
    recorder.close()


if __name__ == "__main__":
    where, how_many, *every = json.loads(sys.argv[1])
    uvloop.run(_serve(Path(where), how_many, Faults(*every)))
