"""What the demo shows: a simulator and a gateway with tenants, as processes of their own in one directory."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from loadtest.programs import program
from loadtest.teams import MadeUpTeam, make_team, tenant_of
from shards.api_key import new_api_key
from shards.errors import StoreError
from shards.private_redis.server import running_url
from shards.tenants import Tenants
from shards.vault import Vault, read_master_key

START_S: Final = 30.0
STOP_S: Final = 40.0


class DemoFailed(Exception):
    """A part of the demo did not come up; the text names its log."""


class Stage:
    """Addresses of the running parts; ``api_keys`` are by tenant id, ``gateway`` is the process that runs now."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.teams: list[MadeUpTeam] = []
        self.api_keys: dict[str, str] = {}
        self.gateway: subprocess.Popen[bytes] | None = None
        self.apns_port, self.control_port, *others = _free_ports(5)
        self.http_port, self.admin_port, self.metrics_port = others

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def simulator_dir(self) -> Path:
        return self.directory / "simulator"

    @property
    def data_dir(self) -> Path:
        return self.directory / "gateway"


@asynccontextmanager
async def set_up(directory: Path, tenants: int) -> AsyncIterator[Stage]:
    """Start everything, and end it in reverse order. Raises DemoFailed."""
    stage = Stage(directory)
    async with contextlib.AsyncExitStack() as running:
        simulator = _start(
            stage,
            "simulator",
            *("simulate", "--data-dir", str(stage.simulator_dir)),
            *("--port", str(stage.apns_port)),
            *("--control-port", str(stage.control_port)),
        )
        running.callback(_end, simulator)
        await _until_ok(f"{stage.control_url}/livez", stage, "simulator", simulator)
        async with gateway(stage):
            await _create_tenants(stage, tenants)
            yield stage


@asynccontextmanager
async def gateway(stage: Stage) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run the gateway on the stage's data directory. Raises DemoFailed."""
    process = _start(
        stage,
        "gateway",
        *("run", "--data-dir", str(stage.data_dir)),
        *("--bind", f"127.0.0.1:{stage.http_port}"),
        *("--admin-bind", f"127.0.0.1:{stage.admin_port}"),
        *("--metrics-bind", f"127.0.0.1:{stage.metrics_port}"),
        *("--apns-production-url", f"https://localhost:{stage.apns_port}"),
        *("--apns-ca-file", str(stage.simulator_dir / "ca.pem")),
    )
    stage.gateway = process
    try:
        await _until_ok(f"{stage.http_url}/readyz", stage, "gateway", process)
        yield process
    finally:
        _end(process)


def _start(stage: Stage, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    # without the caller's CLARION_* settings, which are meant for a gateway of theirs
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CLARION_")}
    with (stage.directory / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            program("engine", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=stage.directory,
            env=environment,
            # Ctrl-C is for the demo, which then stops these in order
            process_group=0,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _until_ok(url: str, stage: Stage, name: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_S
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                    if answer.status == 200:
                        return
            if process.poll() is not None or time.monotonic() > deadline_s:
                last = (stage.directory / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise DemoFailed(f"the {name} did not come up: {' / '.join(last) or 'it said nothing'}")
            await asyncio.sleep(0.05)


async def _create_tenants(stage: Stage, number: int) -> None:
    """Tenants of as many teams; the simulator learns the public halves of their keys, as Apple would."""
    url = running_url(stage.data_dir)
    if url is None:
        raise DemoFailed(f"the gateway's redis-server does not answer; see {stage.directory}/gateway.log")
    vault = Vault(read_master_key(stage.data_dir / "master.key", create=False))
    tenants = Tenants(url)
    try:
        async with aiohttp.ClientSession() as session:
            for each in range(number):
                team = make_team(each)
                secret, prefix = new_api_key()
                tenant = tenant_of(team, vault, created_ms=int(time.time() * 1000))
                await tenants.create(tenant, secret, prefix)
                known = {
                    "team_id": team.team_id,
                    "key_id": team.key_id,
                    "public_key_pem": team.public_key_pem,
                    "topics": [team.topic],
                }
                async with session.post(f"{stage.control_url}/teams", json=known) as answer:
                    answer.raise_for_status()
                stage.teams.append(team)
                stage.api_keys[team.tenant] = secret
    except (StoreError, aiohttp.ClientError) as error:
        raise DemoFailed(f"the tenants could not be created: {error}") from error
    finally:
        await tenants.close()


def _free_ports(number: int) -> list[int]:
    """Ports of the loopback address that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
