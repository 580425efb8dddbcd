"""One real admin process, and a client that asks it as curl would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ingest_process import TIMEOUT_S, Response, read_response, request

from engine.admin.options import AdminOptions
from runtime.listening import listen

TOKEN = "clarion-admin_" + "t" * 43
MASTER_KEY = bytes(range(32))
_PROGRAM = """
import json, logging, socket, sys
from engine.admin.options import AdminOptions
from engine.admin.serve import serve
from engine.admin.token import AdminToken
from shards.vault import Vault
fd, lifeline, options, token, master_key = json.loads(sys.argv[1])
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
sys.exit(serve(
    AdminOptions(**options), socket.socket(fileno=fd), AdminToken(token, "admin.token"),
    Vault(bytes.fromhex(master_key)), pulse=lambda: None, lifeline=lifeline,
))
"""


class AdminProcess:
    """Started when made. ``lifeline`` is our end of the pipe whose end makes it stop."""

    def __init__(self, redis_url: str, **options: Any) -> None:
        chosen = {"redis_url": redis_url, "bind_host": "127.0.0.1", "bind_port": 0, **options}
        listener = listen(AdminOptions(**chosen))
        self.address: tuple[str, int] = listener.getsockname()
        self._log: str | None = None
        theirs, self.lifeline = os.pipe()
        arguments = json.dumps([listener.fileno(), theirs, chosen, TOKEN, MASTER_KEY.hex()])
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _PROGRAM, arguments],
            pass_fds=(listener.fileno(), theirs),
            stderr=subprocess.PIPE,
        )
        listener.close()
        os.close(theirs)

    def await_ready(self) -> None:
        self.ask_until(200, "GET", "/readyz")

    def ended(self) -> str:
        """Wait until it has ended, with code 0; returns its log."""
        if self._log is None:
            try:
                _, log = self.process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                _, log = self.process.communicate()
            self._log = log.decode()
        assert self.process.returncode == 0, self._log
        return self._log

    def end(self) -> str:
        """Ask it to stop; returns its log. Safe to repeat."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        log = self.ended()
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
        return log

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, **headers: str
    ) -> Response:
        """One request on a connection of its own. ``body`` is bytes, or is sent as JSON."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = {} if token is None else {"Authorization": f"Bearer {token}"}
        plain = {"Content-Type": "application/json", "Connection": "close", **shown}
        plain |= {name.replace("_", "-"): value for name, value in headers.items()}
        with socket.create_connection(self.address, timeout=TIMEOUT_S) as connection:
            connection.sendall(request(method, path, plain, content))
            return read_response(connection)

    def ask_until(self, status: int, method: str, path: str, **rest: Any) -> Response:
        """Ask as ``ask`` does, again and again, until it is answered so."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while (answer := self.ask(method, path, **rest)).status != status:
            assert time.monotonic() < deadline_s, f"{method} {path}: still {answer.status}, not {status}"
            time.sleep(0.02)
        return answer


@contextmanager
def serving(redis_url: str, **options: Any) -> Iterator[AdminProcess]:
    """One that is ready, until it is asked to stop."""
    process = AdminProcess(redis_url, **options)
    process.await_ready()
    try:
        yield process
    finally:
        process.end()
