"""The whole gateway while its processes are replaced, hurried, or orphaned: no client notices, and nothing is lost."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from ingest_process import push_request

from engine.policy.restart import EXIT_BOOT_FAILED, EXIT_GAVE_UP
from loadtest.bench.cpu import children
from loadtest.demo.stage import Stage, gateway, set_up
from loadtest.demo.verdict import Judgement, judge

DEADLINE_S = 40.0
PACE_S = 0.02


async def until(holds: Callable[[], bool], what: Callable[[], str], within_s: float = DEADLINE_S) -> None:
    deadline_s = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline_s, what()
        await asyncio.sleep(0.02)


def log_of(stage: Stage) -> str:
    return (stage.directory / "gateway.log").read_text()


def lives(stage: Stage) -> dict[str, list[int]]:
    """The pids that each child has had."""
    found: dict[str, list[int]] = {}
    for name, pid in re.findall(r" (\w+(?:-\d+)?) started, pid (\d+)$", log_of(stage), re.MULTILINE):
        found.setdefault(name, []).append(int(pid))
    return found


def gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


class Clients:
    """Clients that push one notification after the other, and take every trouble down."""

    def __init__(self, stage: Stage) -> None:
        self.sent: dict[str, float] = {}
        self.troubles: list[str] = []
        self.connections = 0
        self.in_doubt = 0
        self.over = False
        self._stage = stage

    async def push(self, number: int, *, keep_alive: bool) -> None:
        """Until it is over; a connection for each request, or one for as long as the server keeps it open."""
        team = self._stage.teams[0]
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        each = 0
        while not self.over:
            each += 1
            body = {"device_token": f"{number:08x}{each:056x}", "topic": team.topic, "payload": {"aps": {}}}
            try:
                if stream is None:
                    stream = await asyncio.open_connection("127.0.0.1", self._stage.http_port)
                    self.connections += 1
                stays = await self._exchange(*stream, push_request(self._stage.api_keys[team.tenant], body))
            except (OSError, asyncio.IncompleteReadError) as error:
                self.troubles.append(f"{'keep-alive' if keep_alive else 'fresh'}: {error!r}")
                stays = False
            if stream is not None and not (keep_alive and stays):
                stream[1].close()
                stream = None
            await asyncio.sleep(PACE_S)
        if stream is not None:
            stream[1].close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> bool:
        """One request; returns whether the connection stays open."""
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = {name.lower(): value for name, _, value in (f.partition(": ") for f in head.split("\r\n"))}
        answer = json.loads(await reader.readexactly(int(fields["content-length"])))
        if head.split()[1] == "202":
            self.sent[answer["id"]] = 0.0
        else:
            self.in_doubt += answer["code"] == "store-in-doubt"
            self.troubles.append(f"{head.split()[1]} {answer['code']}")
        return fields.get("connection") != "close"


async def verdict(stage: Stage, clients: Clients) -> Judgement:
    """What became of all pushes, when each has a fate."""
    entries: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(base_url=stage.control_url) as session:
        deadline_s = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            async with session.get("/ledger/entries") as answer:
                entries = [json.loads(line) for line in (await answer.text()).splitlines()]
            found = judge(clients.sent, 0.0, entries)
            if found.accepted_by_apns == len(clients.sent):
                # what is sent a second time would be seen by now
                await asyncio.sleep(0.3)
                return found
            if asyncio.get_running_loop().time() > deadline_s:
                return found
            await asyncio.sleep(0.1)


async def replace_all_under_load(directory: Path) -> None:
    async with set_up(directory, 1) as stage:
        assert stage.gateway is not None
        before = lives(stage)
        clients = Clients(stage)
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(clients.push(number, keep_alive=number % 2 == 0))
            await asyncio.sleep(0.5)
            stage.gateway.send_signal(signal.SIGHUP)
            replaced = {name for name in before if name != "redis"}
            await until(lambda: all(len(lives(stage)[name]) == 2 for name in replaced), lambda: log_of(stage))
            await asyncio.sleep(1.0)
            clients.over = True
        found = await verdict(stage, clients)
        log = log_of(stage)
        assert clients.troubles == [], (clients.troubles, log)
        assert (found.lost, found.repeated) == (0, 0), log
        assert found.accepted_by_apns == len(clients.sent) > 100
        # three keep-alive clients were told that their connection closes, once each
        assert clients.connections > len(clients.sent) / 4
        after = lives(stage)
        assert after["redis"] == before["redis"]
        assert all(gone(before[name][0]) for name in replaced)
        assert "restarting in" not in log and "Traceback" not in log and "killed" not in log


def test_a_hangup_under_load_replaces_every_process_and_no_client_notices() -> None:
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(replace_all_under_load(Path(directory)))


async def hurry_with_pushes_that_nobody_answers(directory: Path) -> None:
    async with set_up(directory, 1) as stage:
        assert stage.gateway is not None
        clients = Clients(stage)
        async with aiohttp.ClientSession(base_url=stage.control_url) as control, asyncio.TaskGroup() as group:
            script = [{"then": [{"do": "silence"}], "times": 10_000}]
            for number in range(2):
                group.create_task(clients.push(number, keep_alive=True))
            await until(lambda: len(clients.sent) > 20, lambda: log_of(stage))
            async with control.post("/script", json=script) as answer:
                assert answer.status < 300, await answer.text()
            stuck_from = len(clients.sent)
            await until(lambda: len(clients.sent) > stuck_from + 20, lambda: log_of(stage))
            clients.over = True
        loop = asyncio.get_running_loop()
        stage.gateway.send_signal(signal.SIGTERM)
        await asyncio.sleep(1.5)
        assert stage.gateway.poll() is None, "it waits for the answers"
        stage.gateway.send_signal(signal.SIGTERM)
        began_s = loop.time()
        assert await asyncio.to_thread(stage.gateway.wait, 20) == 0
        assert loop.time() - began_s < 5
        log = log_of(stage)
        assert "were not answered in time and are given back" in log
        assert "SIGKILL" not in log
        async with aiohttp.ClientSession(base_url=stage.control_url) as control:
            async with control.delete("/script") as answer:
                assert answer.status < 300
        async with gateway(stage):
            found = await verdict(stage, clients)
        assert (found.lost, found.repeated) == (0, 0), log_of(stage)
        assert found.accepted_by_apns == len(clients.sent)
        assert "that an earlier holder had claimed" not in log_of(stage), "everything was given back in order"


def test_a_second_sigterm_hurries_the_workers_and_they_give_back_what_they_hold() -> None:
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(hurry_with_pushes_that_nobody_answers(Path(directory)))


async def kill_the_supervisor_under_load(directory: Path) -> None:
    async with set_up(directory, 1) as stage:
        assert stage.gateway is not None
        clients = Clients(stage)
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(clients.push(number, keep_alive=number % 2 == 0))
            await until(lambda: len(clients.sent) > 100, lambda: log_of(stage))
            pids = children(stage.gateway.pid)
            assert len(pids) >= 3
            stage.gateway.kill()
            await asyncio.to_thread(stage.gateway.wait, 10)
            accepted = len(clients.sent)
            await until(
                lambda: all(map(gone, pids)), lambda: f"alive: {[p for p in pids if not gone(p)]}", 15.0
            )
            async with gateway(stage):
                await until(lambda: len(clients.sent) > accepted + 100, lambda: log_of(stage))
                clients.over = True
                found = await verdict(stage, clients)
        assert found.lost == 0, log_of(stage)
        # an orphaned worker drains; at most what it could not end comes again
        assert found.repeated <= 2 * 6
        assert any("refused" in trouble.lower() for trouble in clients.troubles)


def test_no_child_outlives_a_killed_supervisor_and_a_new_start_recovers_everything() -> None:
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        asyncio.run(kill_the_supervisor_under_load(Path(directory)))


def run_to_its_end(directory: Path, *options: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CLARION_")}
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "engine",
            "run",
            "--data-dir",
            str(directory / "data"),
            "--admin-bind=",
            "--metrics-bind=",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=directory,
        env=environment,
    )
    return ended.returncode, ended.stderr


def test_what_can_not_boot_ends_at_once_with_one_line_and_forks_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run_to_its_end(tmp_path, "--bind", f"127.0.0.1:{taken.getsockname()[1]}")
    assert code not in (0, EXIT_GAVE_UP)
    assert "is in use" in said and "started, pid" not in said and "Traceback" not in said


def test_a_redis_that_crashes_at_every_boot_makes_the_gateway_give_up(tmp_path: Path) -> None:
    redis = tmp_path / "data" / "redis" / "appendonlydir"
    redis.mkdir(parents=True)
    # a manifest that is none: redis-server ends with code 1 each time, which is a crash and no word of ours
    (redis / "appendonly.aof.manifest").write_text("nonsense\n")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    code, said = run_to_its_end(tmp_path, "--bind", f"127.0.0.1:{port}")
    assert code in (EXIT_GAVE_UP, EXIT_BOOT_FAILED)
    assert said.count("giving up: redis") == 1
    assert said.count("redis started, pid") > 1, "a crash is tried again"
    assert "worker-0 started" not in said
