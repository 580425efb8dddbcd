"""What a figure was measured on: machine, versions, command. A figure without them is a rumour."""

import os
import platform
import random
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from loadtest.sink.nginx import find_nginx

PACKAGES: Final = ("uvloop", "h2", "hpack", "redis", "hiredis", "msgspec", "aiohttp", "cryptography")
_PROGRAMS: Final = {
    "redis-server": ("redis-server", "--version"),
    "nginx": (str(find_nginx() or "nginx"), "-v"),
}


def facts() -> dict[str, Any]:
    """The machine and the versions."""
    # before the look at the memory, which is a load itself
    load_before = round(os.getloadavg()[0], 2)
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "memory_look_ns": _memory_look_ns(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "programs": {name: _said(*command) for name, command in _PROGRAMS.items()},
        "load_before": load_before,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": shlex.join(["scripts/bench", *sys.argv[1:]]),
    }


def _memory_look_ns() -> int:
    """The time in which one of a million strings is found in a dict when they are asked for in no order.

    Hardly one of them is in the CPU's own caches, so it says how fast what lies behind those is: the rest of the
    machine shares it.
    """
    words = list(map(str, range(1_000_000)))
    table = dict.fromkeys(words)
    random.Random(1).shuffle(words)
    started_s = time.perf_counter()
    for _ in map(table.__getitem__, words):
        pass
    return round(1e9 * (time.perf_counter() - started_s) / len(words))


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _said(*command: str) -> str:
    """The version that a program says it has; "" when there is none."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return found[0] if found else ""
