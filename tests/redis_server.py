"""A redis-server of the tests' own, which may be killed and started again."""

import signal
import socket
import subprocess
import time
from pathlib import Path

from shards.private_redis.binary import find_server

START_TIMEOUT_S = 10.0


class RedisServer:
    """A redis-server on a unix socket in a directory of its own.

    Without its append-only file it forgets everything when it is started again. It is the program that Clarion
    itself would choose: the machine's, or the one from PyPI.
    """

    def __init__(self, directory: Path, *, append_only: bool = True) -> None:
        self._directory = directory
        self._append_only = append_only
        self.socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self.socket}"

    def __repr__(self) -> str:
        return f"<RedisServer {self.url} {'up' if self.alive else 'down'}>"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def start(self) -> None:
        """Start it, with what its append-only file holds, and wait until it answers."""
        program = find_server(None, self._directory / "bin").path
        append_only = "yes" if self._append_only else "no"
        options = (
            f"--port 0 --unixsocket {self.socket} --dir {self._directory} --save  --appendonly {append_only}"
        )
        log_file = self._directory / "redis.log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen([program, *options.split(" ")], stdout=log, stderr=log)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self.command("PING") != b"+PONG\r\n":
            assert self.alive and time.monotonic() < deadline_s, log_file.read_text()
            time.sleep(0.01)

    def kill9(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self.alive:
            self.kill9()

    def command(self, text: str) -> bytes:
        """The first line of the answer to an inline command; empty when there is none."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_TIMEOUT_S)
            if connection.connect_ex(str(self.socket)) != 0:
                return b""
            connection.sendall(f"{text}\r\n".encode())
            return connection.recv(4096)
