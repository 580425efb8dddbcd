"""The CPU of a run, looked at again and again: what each process took since the last look, and the whole machine."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from loadtest.bench.cpu import children, cpu_s, machine_s, wanted_s
from loadtest.swarm.bottleneck import LOCUST, Look


class Watch:
    """Looks at the processes that ``pids`` names, while ``pushes`` grows: what they take to begin and to end is not
    part of the load."""

    def __init__(self, pids: Callable[[], Mapping[str, Sequence[int]]], pushes: Callable[[], int]) -> None:
        self.looks: list[Look] = []
        self._pids = pids
        self._pushes = pushes
        self._last = self._now()
        self._grew = False

    def __repr__(self) -> str:
        return f"<Watch {len(self.looks)} looks>"

    def look(self) -> None:
        """One more. A process that came or went since the last look is not in it."""
        before = self._last
        now = self._last = self._now()
        grew_before, self._grew = self._grew, now.pushes > before.pushes
        if grew_before and self._grew:
            self.looks.append(
                Look(
                    now.at_s - before.at_s,
                    _since(before.cpu_s, now.cpu_s),
                    _since(before.wanted_s, now.wanted_s),
                    now.machine_s - before.machine_s,
                )
            )

    def _now(self) -> "_Reading":
        ran, wanted = {}, {}
        for name, pids in self._pids().items():
            try:
                ran[name], wanted[name] = cpu_s(pids), wanted_s(pids)
            except (FileNotFoundError, ProcessLookupError):
                # it has just ended
                continue
        return _Reading(time.monotonic(), ran, wanted, machine_s(), self._pushes())


class _Reading(NamedTuple):
    at_s: float
    cpu_s: Mapping[str, float]
    wanted_s: Mapping[str, float]
    machine_s: float
    pushes: int


def _since(before: Mapping[str, float], now: Mapping[str, float]) -> Mapping[str, float]:
    # a thread that has ended takes its time with it
    return {name: max(0.0, each - before[name]) for name, each in now.items() if name in before}


def locust_pids(locust: "subprocess.Popen[bytes]") -> dict[str, list[int]]:
    """Locust's processes by name; those between which it divides its work are its children."""
    try:
        divided = children(locust.pid)
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {LOCUST: [locust.pid], **{f"{LOCUST}-{number}": [pid] for number, pid in enumerate(divided, 1)}}


@contextmanager
def ended_after(process: "subprocess.Popen[bytes]", within_s: float) -> Iterator["subprocess.Popen[bytes]"]:
    """Lets a process end by itself within the block, and sees to it that it has ended after it."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
