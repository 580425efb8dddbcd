"""The peers of the benchmark send what they are told to, and their processor time is found by the kernel's clocks."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from loadtest.bench import peers
from loadtest.bench.cpu import process_cpu_s
from loadtest.bench.peer_programs import PEERS
from loadtest.bench.peers import PeersOptions
from loadtest.peers.task import Task
from loadtest.sink.nginx import NginxSink, find_nginx
from loadtest.teams import make_team

ROOT = Path(__file__).resolve().parents[2]
PUSHES = 101

needs_nginx = pytest.mark.skipif(
    find_nginx() is None and not os.environ.get("CI"), reason="no nginx on this machine (CI must have one)"
)
PYTHON_PEERS = {"over_h2": "h2", "over_httpx": "httpx", "over_aioapns": "aioapns"}


def run_peer(module: str, task: Task, directory: Path) -> "subprocess.CompletedProcess[str]":
    file = directory / "task.json"
    file.write_bytes(msgspec.json.encode(task))
    return subprocess.run(
        [sys.executable, "-m", f"loadtest.peers.{module}", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def task_for(sink: NginxSink, directory: Path) -> Task:
    team = make_team(0)
    key_file = directory / "key.p8"
    key_file.write_bytes(team.private_key_pem)
    return Task(
        host="localhost",
        port=sink.port,
        origin=f"https://localhost:{sink.port}",
        ca_file=str(sink.ca_file),
        pushes=PUSHES,
        topic=team.topic,
        payload='{"aps":{"alert":"x"}}',
        key_file=str(key_file),
        key_id=team.key_id,
        team_id=team.team_id,
        bearer="a.b.c",
        settings={"window": 10, "connections": 2},
    )


@needs_nginx
@pytest.mark.parametrize("module", PYTHON_PEERS)
def test_a_peer_sends_as_many_pushes_as_it_is_told(tmp_path: Path, module: str) -> None:
    if importlib.util.find_spec(PYTHON_PEERS[module]) is None:
        pytest.skip("of the peers extra")
    with NginxSink(tmp_path / "sink", echo_ids=True) as sink:
        ended = run_peer(module, task_for(sink, tmp_path), tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert sink.pushes() == PUSHES


@needs_nginx
def test_a_peer_whose_pushes_are_refused_says_so(tmp_path: Path) -> None:
    with NginxSink(tmp_path / "sink") as sink:
        task = task_for(sink, tmp_path)
        elsewhere = msgspec.structs.replace(task, origin=f"{task.origin}/elsewhere")
        if importlib.util.find_spec("httpx") is None:
            pytest.skip("of the peers extra")
        ended = run_peer("over_httpx", elsewhere, tmp_path)
        assert (ended.returncode, ended.stderr) == (1, f"{PUSHES} of {PUSHES} pushes were refused\n")


def test_the_clock_of_a_process_is_its_processor_time() -> None:
    before_s, read_s, after_s = time.process_time(), process_cpu_s([os.getpid()]), time.process_time()
    assert before_s <= read_s <= after_s


def test_a_process_that_is_gone_has_no_clock() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(OSError):
        process_cpu_s([process.pid])


def test_a_peer_that_does_not_exist_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="write one of clarion, go-gateway"):
        peers.run(PeersOptions(only=("gorush",)))


@pytest.mark.parametrize("given", ["h2.windows=5", "gorush.window=5", "h2.window", "h2.window=many"])
def test_a_setting_that_a_peer_does_not_have_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="setting"):
        peers.run(PeersOptions(setting=(given,)))


def test_every_peer_has_its_settings_and_a_number_of_pushes() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(peer.pushes and peer.processes and peer.settings for peer in PEERS)
