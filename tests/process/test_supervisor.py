"""The supervisor with real forks and real signals, each time in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from engine.policy.restart import EXIT_BOOT_FAILED, EXIT_GAVE_UP
from engine.supervisor.phase import TRANSITIONS, ImpossibleStep, Phase, Step, advance
from engine.supervisor.rows import Row, checked
from engine.supervisor.supervisor import Supervisor

SCRIPT = Path(__file__).with_name("supervised.py")
DEADLINE_S = 30.0


def until(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    """Polls until `holds`; a test that fails here shows `what` it last saw."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that its new parent never collects has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


class Supervised:
    """A running scenario: its events, its log, and the pids that the log told."""

    def __init__(self, scenario: str, directory: Path, prefix: tuple[str, ...] = ()) -> None:
        self._directory = directory
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(SCRIPT), scenario, str(directory)], stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    @property
    def events(self) -> list[str]:
        path = self._directory / "events"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self, name: str) -> list[int]:
        return [int(pid) for pid in re.findall(rf" {name} started, pid (\d+)$", self.log, re.MULTILINE)]

    def asked_at_gate(self) -> int:
        path = self._directory / "asked"
        return path.stat().st_size if path.exists() else 0

    def open_gate(self) -> None:
        (self._directory / "go").touch()

    def await_log(self, text: str) -> None:
        until(lambda: text in self.log, lambda: f"no {text!r} in\n{self.log}")

    def await_event(self, beginning: str, count: int = 1) -> None:
        def holds() -> bool:
            return sum(event.startswith(beginning) for event in self.events) >= count

        until(holds, lambda: f"no {count} x {beginning!r} in {self.events}\n{self.log}")

    def await_exit(self) -> int:
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    running: list[Supervised] = []

    def start(scenario: str, prefix: tuple[str, ...] = ()) -> Supervised:
        running.append(Supervised(scenario, tmp_path, prefix))
        return running[-1]

    yield start
    for supervised in running:
        supervised.process.kill()
        supervised.process.wait(DEADLINE_S)


def all_up(supervise: Callable[..., Supervised]) -> Supervised:
    supervised = supervise("steady")
    supervised.open_gate()
    supervised.await_log("all 4 children are running")
    return supervised


def test_stages_start_in_order_each_after_the_one_below_is_ready(
    supervise: Callable[..., Supervised],
) -> None:
    supervised = supervise("steady")
    until(lambda: supervised.asked_at_gate() > 2, lambda: supervised.log)
    assert supervised.pids("redis") and not supervised.pids("worker-0")
    supervised.open_gate()
    supervised.await_log("all 4 children are running")
    order = re.findall(r"(\S+) started", supervised.log)
    assert order == ["redis", "worker-0", "worker-1", "ingest-0"]
    assert supervised.events[-1].endswith("restarts=0 index=0")


def test_a_pulsed_child_is_ready_with_its_first_pulse(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("late")
    # By then the supervisor has looked several times.
    until(lambda: supervised.asked_at_gate() > 20, lambda: supervised.log)
    assert supervised.pids("worker-0") and not supervised.pids("ingest-0")
    supervised.open_gate()
    supervised.await_log("all 2 children are running")


def test_a_stop_goes_stage_by_stage_from_the_top(supervise: Callable[..., Supervised]) -> None:
    supervised = all_up(supervise)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.await_exit() == 0
    told = [event for event in supervised.events if "stop" in event]
    assert told[:2] == ["ingest-0 stopping", "ingest-0 stopped"]
    assert sorted(told[2:4]) == ["worker-0 stopping", "worker-1 stopping"]
    ended = re.findall(r"(\S+) \(pid \d+\) (?:exited|was ended)", supervised.log)
    assert ended[0] == "ingest-0" and ended[-1] == "redis"
    assert supervised.events[-1] == (
        "supervisor <Supervisor STOPPED level -1 "
        "ingest-0=STOPPED redis=STOPPED worker-0=STOPPED worker-1=STOPPED>"
    )


def test_a_killed_child_is_started_again_and_told_so(supervise: Callable[..., Supervised]) -> None:
    supervised = all_up(supervise)
    os.kill(supervised.pids("worker-1")[0], signal.SIGKILL)
    supervised.await_event("worker-1 up", count=2)
    assert any("worker-1 up" in event and "restarts=1 index=1" in event for event in supervised.events)
    assert "worker-1 crashed; restarting in" in supervised.log
    assert len(supervised.pids("worker-0")) == 1


def test_a_killed_foreign_program_is_started_again(supervise: Callable[..., Supervised]) -> None:
    supervised = all_up(supervise)
    os.kill(supervised.pids("redis")[0], signal.SIGKILL)
    until(lambda: len(supervised.pids("redis")) == 2, lambda: supervised.log)
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.await_exit() == 0


def test_a_crash_loop_ends_with_one_line_and_a_code(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("crashing")
    assert supervised.await_exit() == EXIT_GAVE_UP
    assert sum(event.startswith("worker-0 up") for event in supervised.events) == 4
    assert supervised.log.count("giving up: worker-0 died 4 times within 60 s") == 1
    assert "other-0 stopped" in supervised.events


def test_a_boot_failure_stops_everything_without_another_try(
    supervise: Callable[..., Supervised],
) -> None:
    supervised = supervise("unbootable")
    assert supervised.await_exit() == EXIT_BOOT_FAILED
    assert "worker: the configuration is bad" in supervised.log
    assert "giving up: worker-0 could not boot" in supervised.log
    assert len(supervised.pids("worker-0")) == 1
    assert gone(supervised.pids("redis")[0])


def test_a_program_that_is_not_there_is_a_boot_failure(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("missing")
    assert supervised.await_exit() == EXIT_BOOT_FAILED
    assert "cannot execute /no/such/server: No such file or directory" in supervised.log


def test_a_stage_that_never_gets_ready_is_a_boot_failure(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("unready")
    assert supervised.await_exit() == EXIT_BOOT_FAILED
    assert "giving up: redis was not ready within 0.2 s" in supervised.log


def test_a_child_that_outstays_its_grace_is_killed(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("stubborn")
    supervised.await_log("all 1 children are running")
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.await_exit() == 0
    assert "killed: its grace is over" in supervised.log
    assert "was ended by SIGKILL" in supervised.log


def test_a_second_signal_hurries(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("patient")
    supervised.await_log("all 1 children are running")
    supervised.process.send_signal(signal.SIGTERM)
    supervised.await_log("asked to stop")
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.await_exit() == 0, "its grace alone would last for an hour"
    assert "asked to stop again: 0.1 s for each stage" in supervised.log


def test_what_a_draining_stage_leans_on_is_kept_alive(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("draining")
    supervised.await_log("all 2 children are running")
    supervised.process.send_signal(signal.SIGTERM)
    supervised.await_log("asked to stop")
    os.kill(supervised.pids("redis")[0], signal.SIGTERM)
    until(lambda: len(supervised.pids("redis")) == 2, lambda: supervised.log)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.await_exit() == 0


def test_no_child_outlives_a_killed_supervisor(supervise: Callable[..., Supervised]) -> None:
    supervised = all_up(supervise)
    children = [supervised.pids(name)[0] for name in ("redis", "worker-0", "worker-1", "ingest-0")]
    supervised.process.kill()
    until(lambda: all(map(gone, children)), lambda: f"still there: {[p for p in children if not gone(p)]}")
    assert sum(event.endswith(" orphaned") for event in supervised.events) == 3


def test_a_child_without_a_pulse_is_killed_and_started_again(
    supervise: Callable[..., Supervised],
) -> None:
    supervised = supervise("hanging")
    supervised.await_event("worker-0 up", count=2)
    assert re.search(r"worker-0 \(pid \d+\) killed: no pulse for \d+\.\d s", supervised.log)
    assert "worker-0 crashed; restarting in" in supervised.log


def test_an_uncaught_exception_is_printed_and_counts_as_a_crash(
    supervise: Callable[..., Supervised],
) -> None:
    supervised = supervise("raising")
    supervised.await_event("worker-0 up")
    assert "LookupError: nobody catches this" in supervised.log
    assert "exited with code 70" in supervised.log


def test_children_draw_different_random_numbers(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("dice")
    supervised.await_log("all 2 children are running")
    drawn = [event.split()[-1] for event in supervised.events if " drew " in event]
    assert len(drawn) == len(set(drawn)) == 2


def test_a_hangup_replaces_pulsed_children_one_by_one(supervise: Callable[..., Supervised]) -> None:
    supervised = all_up(supervise)
    supervised.process.send_signal(signal.SIGHUP)
    supervised.await_event("worker-1 up", count=2)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.await_exit() == 0
    rolled = [event.rpartition(" up ")[0] or event for event in supervised.events[3:12]]
    assert rolled == [
        line
        for name in ("ingest-0", "worker-0", "worker-1")
        for line in (f"{name} stopping", f"{name} stopped", name)
    ]
    assert len(supervised.pids("redis")) == 1
    assert "restarting in" not in supervised.log


def test_ctrl_c_reaches_the_supervisor_alone(supervise: Callable[..., Supervised]) -> None:
    supervised = all_up(supervise)
    groups = {os.getpgid(pid) for name in ("redis", "worker-0", "ingest-0") for pid in supervised.pids(name)}
    assert len(groups) == 3 and os.getpgid(supervised.process.pid) not in groups


def test_as_pid_1_it_collects_orphans_of_others(supervise: Callable[..., Supervised]) -> None:
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if not shutil.which("unshare") or subprocess.call([*unshare, "true"], stderr=subprocess.DEVNULL):
        pytest.skip("needs a pid namespace of its own, which this machine does not allow")
    supervised = supervise("orphaning", unshare)
    supervised.await_log("all 1 children are running")
    supervised.await_event("worker-0 left")
    # /proc of the namespace, seen through the process that waits for its PID 1.
    children = Path(f"/proc/{supervised.process.pid}/task/{supervised.process.pid}/children")
    first = int(children.read_text().split()[0])
    below = Path(f"/proc/{first}/task/{first}/children")
    until(lambda: len(below.read_text().split()) == 1, below.read_text)
    os.kill(first, signal.SIGTERM)
    assert supervised.await_exit() == 0


def test_a_private_redis_keeps_its_data_through_every_kind_of_death(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    supervised = supervise("private")
    supervised.await_log("all 2 children are running")
    url = f"unix://{tmp_path}/data/redis/redis.sock"
    with Redis.from_url(url) as client:
        client.set("job", "kept")
    first = supervised.pids("redis")[0]
    os.kill(first, signal.SIGKILL)
    supervised.await_log("restarting in")
    until(lambda: len(supervised.pids("redis")) == 2, lambda: supervised.log)
    supervised.process.kill()
    supervised.await_exit()
    # The new one may find the old redis and the old worker still about.
    again = supervise("private")
    again.await_log("all 2 children are running")
    with Redis.from_url(url) as client:
        assert client.get("job") == b"kept"
    again.process.send_signal(signal.SIGTERM)
    assert again.await_exit() == 0


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("step", Step)
def test_every_pair_of_phase_and_step_is_a_row_or_raises(phase: Phase, step: Step) -> None:
    if (phase, step) in TRANSITIONS:
        assert advance(phase, step) is TRANSITIONS[phase, step]
    else:
        with pytest.raises(ImpossibleStep, match=f"no {step.name} in {phase.name}"):
            advance(phase, step)


def test_a_bad_table_is_refused_before_anything_is_forked() -> None:
    def run(context: object) -> int:
        return 0

    with pytest.raises(ValueError, match="at least one row"):
        Supervisor([])
    with pytest.raises(ValueError, match="more than once: a"):
        checked([Row(name="a", stage=0, run=run), Row(name="a", stage=1, run=run)])
    with pytest.raises(ValueError, match="either run= or argv="):
        Row(name="a", stage=0)
    with pytest.raises(ValueError, match="either run= or argv="):
        Row(name="a", stage=0, run=run, argv=("/bin/true",))
    with pytest.raises(ValueError, match="cannot pulse"):
        Row(name="a", stage=0, argv=("/bin/true",), pulsed=True)
    with pytest.raises(ValueError, match="needs at least"):
        Row(name="a", stage=0, argv=())
