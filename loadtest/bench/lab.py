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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from loadtest.bench.cpu import children
from loadtest.programs import program
from loadtest.teams import MadeUpTeam, make_team, tenant_of
from shards.api_key import new_api_key
from shards.private_redis.server import PrivateServer, prepare
from shards.tenant import Limits, Tenant
from shards.tenants import Tenants
from shards.vault import Vault, read_master_key

STOP_S: Final = 40.0
LAB_SPREAD: Final = 4


class AofFaults(NamedTuple):
    """``truncated``: how often its end was cut off, which a SIGKILL in the middle of a write leaves half written.

    ``misread``: errors while it was read. A start that cut off the half written command, and no more, leaves the MULTI
    before it open; what is written behind that is read at the next start as part of the transaction that was cut off,
    and what answered calls wrote is then undone by what was never answered (Redis 7.0 does so; valkey#4342).
    """

    truncated: int
    misread: int


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

    def aof_faults(self) -> "AofFaults":
        """What Redis has said of its append-only file at its starts, by its log."""
        said = self.redis.log_file.read_text(errors="replace") if self.redis.log_file.exists() else ""
        return AofFaults(said.count("Truncating the AOF"), said.count("error to its AOF-loading-client"))

    def tear_aof(self, written: Sequence[Sequence[str]]) -> None:
        """Leave the append-only file as a SIGKILL in the middle of a write does: a transaction of which the last
        command is half written. Call it while Redis is down. Nobody was answered for it."""
        commands = [("MULTI",), *written]
        text = "".join(
            f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            for words in commands
        )
        newest = max(
            self.redis.directory.glob("appendonlydir/*.incr.aof"), key=lambda file: file.stat().st_mtime
        )
        with newest.open("ab") as file:
            file.write(text[: -len(written[-1][-1])].encode())

    @property
    def vault(self) -> Vault:
        return Vault(read_master_key(self.master_key_file, create=True))

    def create_tenants(self, number: int, spread: int = LAB_SPREAD, limits: Iterable[Limits] = ()) -> None:
        """Tenants of as many teams, each with its key, and with these limits as far as there are any."""
        vault = self.vault
        self.teams = [make_team(each) for each in range(number)]

        async def create() -> None:
            tenants = Tenants(self.redis.url)
            for team, own in zip(self.teams, chain(limits, repeat(Limits())), strict=False):
                secret, prefix = new_api_key()
                self.api_keys[team.tenant] = secret
                await tenants.create(tenant_of(team, vault, spread=spread, limits=own), secret, prefix)
            await tenants.close()

        asyncio.run(create())

    def change(self, tenant: str, change: Callable[[Tenant], Tenant]) -> None:
        """Change a tenant, as an operator would."""

        async def apply() -> None:
            tenants = Tenants(self.redis.url)
            await tenants.change(tenant, change)
            await tenants.close()

        asyncio.run(apply())

    def start(self, command: str, *options: str) -> "subprocess.Popen[bytes]":
        """Start ``clarion COMMAND``, logging to a file, behind what an earlier one has logged there."""
        given = ["--redis-url", self.redis.url, "--master-key-file", str(self.master_key_file), *options]
        if command in ("run", "engine"):
            # several labs may run on one machine, and none is administered
            given += ["--admin-bind", ""]
        if command in ("run", "engine", "ingest") and "--metrics-bind" not in options:
            given += ["--metrics-bind", "127.0.0.1:0"]
        with (self.directory / f"{command}.log").open("ab") as sink:
            return subprocess.Popen(
                program("engine", command, *given),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=self.directory,
            )

    def stop(self, process: "subprocess.Popen[bytes]") -> int:
        """SIGTERM; returns the exit code, that of a SIGKILL when the process did not end in time."""
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    @contextmanager
    def clarion(self, command: str, *options: str) -> "Iterator[subprocess.Popen[bytes]]":
        """Run ``clarion COMMAND`` until the end of the block."""
        process = self.start(command, *options)
        try:
            yield process
        except RuntimeError:
            sys.stderr.write(self.log_of(command))
            raise
        finally:
            self.stop(process)

    def log_of(self, command: str) -> str:
        return (self.directory / f"{command}.log").read_text(errors="replace")


@contextmanager
def lab(
    fsync: str = "everysec", settings: Mapping[str, str] = MappingProxyType({}), under: Sequence[str] = ()
) -> Iterator[Lab]:
    """A lab in a temporary directory. ``settings`` of Redis in place of Clarion's own, by name; ``under``: a command
    with which its server is run."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-lab-")))
        server = prepare(directory, fsync=fsync)  # type: ignore[arg-type]  # checked there
        stack.callback(server.release)
        own = chain.from_iterable((f"--{name}", value) for name, value in settings.items())
        server = replace(server, argv=(*under, *server.argv, *own))
        server.start()
        stack.callback(server.stop)
        yield Lab(directory, server)


def api_request(path: str, api_key: str, body: bytes) -> bytes:
    """A tenant's POST, as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def wait_until(true: Callable[[], Any], what: str, within_s: float = 60.0, every_s: float = 0.02) -> None:
    """Raises TimeoutError naming ``what``."""
    deadline_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        time.sleep(every_s)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Nothing of this process runs within the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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
