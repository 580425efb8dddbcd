"""What a benchmark needs around the gateway: a private redis-server, tenants with keys, the gateway's processes.

Everything lives in one temporary directory and ends with the ``with`` block, the last started first.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from loadtest.bench.cpu import children
from loadtest.teams import MadeUpTeam, make_team
from shards.private_server import PrivateServer, prepare
from shards.tenant import Tenant, credential_context
from shards.tenants import Tenants, new_api_key
from shards.vault import Vault, read_master_key

STOP_S: Final = 40.0


class Lab:
    """A data directory with a running redis-server and tenants; ``api_keys`` are by tenant id."""

    def __init__(self, directory: Path, redis: PrivateServer) -> None:
        self.directory = directory
        self.redis = redis
        self.teams: list[MadeUpTeam] = []
        self.api_keys: dict[str, str] = {}
        self.master_key_file = directory / "master.key"

    @property
    def redis_pid(self) -> int:
        return int((self.redis.directory / "redis.pid").read_text())

    def create_tenants(self, number: int, spread: int = 4) -> None:
        """Tenants of as many teams, each with its key."""
        vault = Vault(read_master_key(self.master_key_file, create=True))
        self.teams = [make_team(each) for each in range(number)]

        async def create() -> None:
            tenants = Tenants(self.redis.url)
            for team in self.teams:
                secret, prefix = new_api_key()
                self.api_keys[team.tenant] = secret
                sealed = vault.seal(team.private_key_pem, credential_context(team.tenant, team.key_id))
                tenant = Tenant(team.tenant, team.team_id, team.key_id, sealed, (team.topic,), spread)
                await tenants.create(tenant, secret, prefix)
            await tenants.close()

        asyncio.run(create())

    @contextmanager
    def clarion(self, command: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``clarion COMMAND``, logging to a file; ends with SIGTERM."""
        log = self.directory / f"{command}.log"
        given = ["--redis-url", self.redis.url, "--master-key-file", str(self.master_key_file), *options]
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine", command, *given],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=self.directory,
            )
        try:
            yield process
        except RuntimeError:
            sys.stderr.write(log.read_text(errors="replace"))
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log_of(self, command: str) -> str:
        return (self.directory / f"{command}.log").read_text(errors="replace")


@contextmanager
def lab(fsync: str = "everysec") -> Iterator[Lab]:
    """A lab in a temporary directory."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-lab-")))
        server = prepare(directory, fsync=fsync)  # type: ignore[arg-type]  # checked there
        stack.callback(server.release)
        server.start()
        stack.callback(server.stop)
        yield Lab(directory, server)


def wait_until(true: Callable[[], Any], what: str, within_s: float = 60.0, every_s: float = 0.02) -> None:
    """Raises TimeoutError naming ``what``."""
    deadline_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        time.sleep(every_s)


def workers_of(supervisor: subprocess.Popen[bytes], number: int) -> Sequence[int]:
    """The pids of a supervisor's children, once there are so many."""

    def started() -> bool:
        if supervisor.poll() is not None:
            raise RuntimeError(f"clarion ended with code {supervisor.returncode}; its log says why")
        return len(children(supervisor.pid)) >= number

    wait_until(started, f"{number} children of pid {supervisor.pid}")
    return children(supervisor.pid)


def payload(size: int) -> bytes:
    """A notification's payload of that many bytes."""
    frame = b'{"aps":{"alert":""}}'
    return frame.replace(b'""', b'"' + b"x" * max(0, size - len(frame)) + b'"')


def device_token() -> bytes:
    return os.urandom(32).hex().encode()


def free_port() -> int:
    """A port of the loopback address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
