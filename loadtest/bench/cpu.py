"""CPU time by process, from the kernel's accounting (Linux)."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

# how Linux makes the id of a process's CPU clock out of its pid: clock_getcpuclockid(3) does no more
_PID_SHIFT: Final = 3
_CPUCLOCK_SCHED: Final = 2
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds that all threads of these processes have run, user and system together.

    From /proc/PID/task/*/schedstat, which counts nanoseconds where /proc/PID/stat counts ticks of 10 ms. A thread
    that has ended is missed; redis-server, nginx and Python workers keep theirs.
    """
    return sum(ran for pid in pids for ran, _ in _threads_ns(pid)) / 1e9


def wanted_s(pids: Iterable[int]) -> float:
    """The same, and the seconds that these threads could have run and had no CPU: others had them all."""
    return sum(ran + waited for pid in pids for ran, waited in _threads_ns(pid)) / 1e9


def _threads_ns(pid: int) -> Iterator[tuple[int, int]]:
    """Of each thread: how long it has run, and how long it has waited for a CPU."""
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        ran, waited, _ = task.read_text().split()
        yield int(ran), int(waited)


def process_cpu_s(pids: Iterable[int]) -> float:
    """Seconds that these processes have run, threads that have ended included, by the kernel's clock of each.

    For programs whose threads come and go. OSError for a process that is gone; one that has ended and was not yet
    waited for still has its clock.
    """
    return sum(time.clock_gettime(~pid << _PID_SHIFT | _CPUCLOCK_SCHED) for pid in pids)


def machine_s() -> float:
    """Seconds that all CPUs of the machine together have worked since it booted, whoever for."""
    user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = (
        Path("/proc/stat").read_text().split()[1:11]
    )
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / _TICKS_PER_S


def children(pid: int) -> list[int]:
    """Processes that this one has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM now."""
    return _status_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most that was in RAM since the process began."""
    return _status_bytes(pid, "VmHWM:")


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0
