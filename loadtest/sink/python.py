"""The sink in Python: the server process, and the caller's side that starts and stops it.

The process counts its pushes, and its connections, in eight bytes of a file that both sides have mapped, so that a
count can be read at any time without asking the process, and still after its end.
"""

import asyncio
import contextlib
import json
import mmap
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal

from loadtest.programs import environment, program
from loadtest.simulator.authority import ensure_authority
from loadtest.sink.protocol import SinkProtocol, Windows

COUNT = struct.Struct("<Q")
STREAMS = 1000
STOP_TIMEOUT_S = 5.0
SHUTDOWN_TIMEOUT_S = 1.0
BACKLOG = 1024


class Count:
    """A number in a file. One process adds, any may read."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(COUNT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), COUNT.size)

    def add(self, more: int) -> None:
        """Count these too."""
        COUNT.pack_into(self._map, 0, self.value() + more)

    def value(self) -> int:
        """The number so far."""
        (value,) = COUNT.unpack_from(self._map, 0)
        return int(value)

    def close(self) -> None:
        """Let go of the file; the number stays in it."""
        self._map.close()


async def serve(
    *,
    host: str,
    port: int,
    tls_dir: Path,
    streams: int,
    windows: Windows,
    count: Count,
    connections: Count,
) -> int:
    """Serve until SIGTERM or SIGINT; prints where it listens, and at the end how many pushes it took."""
    authority = ensure_authority(tls_dir)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        server = await loop.create_server(
            lambda: SinkProtocol(streams, count.add, connections.add, windows),
            host,
            port,
            ssl=authority.server_context(),
            backlog=BACKLOG,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"sink: cannot serve on port {port} of {host}: {reason}", file=sys.stderr, flush=True)
        return 1
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "ca_file": str(authority.ca_file.resolve())}), flush=True)
    await stopped.wait()
    server.close()
    print(json.dumps({"pushes": count.value()}), flush=True)
    return 0


class PythonSink:
    """A running sink process of this project."""

    kind: Literal["nginx", "python"] = "python"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        streams: int = STREAMS,
        windows: Windows = Windows.WIDE,
    ) -> None:
        self.host = host
        directory.mkdir(parents=True, exist_ok=True)
        files = [directory / "pushes", directory / "connections"]
        for file in files:
            file.unlink(missing_ok=True)
        self._count, self._connections = map(Count, files)
        command = program("loadtest.sink", "--port", str(port), "--streams", str(streams))
        command += ["--tls-dir", str(directory / "tls"), "--count-file", str(files[0])]
        command += ["--host", host, "--connections-file", str(files[1]), "--windows", windows.value]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise OSError(f"the sink did not start; its exit code is {self._process.returncode}")
        whereabouts = json.loads(line)
        self.port: int = whereabouts["port"]
        self.ca_file = Path(whereabouts["ca_file"])

    def __repr__(self) -> str:
        return f"<PythonSink port={self.port} pid={self._process.pid} running={self._process.poll() is None}>"

    @property
    def pids(self) -> list[int]:
        """The processes whose CPU time is the sink's."""
        return [self._process.pid]

    def pushes(self) -> int:
        """How many pushes it has answered."""
        return self._count.value()

    def connections(self) -> int:
        """How many connections it has accepted so far."""
        return self._connections.value()

    def stop(self) -> None:
        """End the process; the count can still be read. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> "PythonSink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
