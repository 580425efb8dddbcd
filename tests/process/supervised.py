"""Gateways in miniature for the supervisor's tests: `python supervised.py SCENARIO DIRECTORY`.

Each scenario runs a supervisor over a few small children in a process of its own, so that the test
run itself never forks. The children write what happens to them as lines of DIRECTORY/events.
"""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.policy.restart import EXIT_BOOT_FAILED, RestartOptions
from engine.supervisor.pulse import ChildContext
from engine.supervisor.rows import Row, SupervisorOptions
from engine.supervisor.supervisor import Supervisor
from shards.private_redis.server import prepare

DIRECTORY = Path(sys.argv[2])
QUICK = RestartOptions(first_delay_s=0.01, longest_delay_s=0.05, limit=3, window_s=60.0)
SLEEP = ("/bin/sleep", "1000")


def note(text: str) -> None:
    """One line in one write, so that the lines of several children do not mix."""
    with (DIRECTORY / "events").open("ab", buffering=0) as events:
        events.write(f"{text}\n".encode())


def obedient(context: ChildContext) -> int:
    """Pulses; stops when asked or when the lifeline ends."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    note(f"{context.name} up {os.getpid()} restarts={context.restarts} index={context.index}")
    while not asked:
        context.pulse()
        if select.select([context.lifeline], [], [], 0.02)[0]:
            note(f"{context.name} orphaned")
            return 0
    note(f"{context.name} stopping")
    # Long enough that a stage which did not wait for this one would show in the order of lines.
    time.sleep(0.1)
    note(f"{context.name} stopped")
    return 0


def crashing(context: ChildContext) -> int:
    note(f"{context.name} up {os.getpid()}")
    os.kill(os.getpid(), signal.SIGABRT)
    return 0


def unbootable(context: ChildContext) -> int:
    print("worker: the configuration is bad", file=sys.stderr)
    return EXIT_BOOT_FAILED


def stubborn(context: ChildContext) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(f"{context.name} up {os.getpid()}")
    while not select.select([context.lifeline], [], [], 0.02)[0]:
        context.pulse()
    return 0


def hanging(context: ChildContext) -> int:
    """Pulses for its first life's beginning only; obedient in the next."""
    if context.restarts:
        return obedient(context)
    context.pulse()
    note(f"{context.name} up {os.getpid()}")
    time.sleep(100)
    return 0


def raising(context: ChildContext) -> int:
    if context.restarts:
        return obedient(context)
    raise LookupError("nobody catches this")


def rolling_dice(context: ChildContext) -> int:
    note(f"{context.name} drew {random.random()}")
    return obedient(context)


def orphaning(context: ChildContext) -> int:
    """Leaves a grandchild behind, which the kernel hands to PID 1."""
    left = subprocess.Popen(["/bin/sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True)
    note(f"{context.name} left {left.communicate()[0].strip()}")
    return obedient(context)


def gate() -> bool:
    """Whether the test has opened the gate; each question leaves a byte."""
    with (DIRECTORY / "asked").open("ab") as asked:
        asked.write(b"?")
    return (DIRECTORY / "go").exists()


def late(context: ChildContext) -> int:
    """Runs, but does not pulse before the gate opens."""
    while not gate() and not select.select([context.lifeline], [], [], 0.02)[0]:
        pass
    return obedient(context)


def forked(name: str, stage: int, run: Callable[[ChildContext], int], grace_s: float = 20.0) -> Row:
    return Row(name=name, stage=stage, run=run, pulsed=True, grace_s=grace_s, index=int(name[-1]))


SCENARIOS: dict[str, tuple[list[Row], SupervisorOptions]] = {
    "steady": (
        [
            forked("ingest-0", 2, obedient),
            Row(name="redis", stage=0, argv=SLEEP, ready=gate),
            forked("worker-0", 1, obedient),
            forked("worker-1", 1, obedient),
        ],
        SupervisorOptions(restart=QUICK),
    ),
    "crashing": (
        [forked("worker-0", 1, crashing), Row(name="other-0", stage=1, run=obedient)],
        SupervisorOptions(restart=QUICK),
    ),
    "unbootable": (
        [Row(name="redis", stage=0, argv=SLEEP), forked("worker-0", 1, unbootable)],
        SupervisorOptions(restart=QUICK),
    ),
    "missing": ([Row(name="redis", stage=0, argv=("/no/such/server",))], SupervisorOptions()),
    "unready": (
        [Row(name="redis", stage=0, argv=SLEEP, ready=lambda: False, ready_s=0.2)],
        SupervisorOptions(),
    ),
    "stubborn": ([forked("worker-0", 1, stubborn, grace_s=0.2)], SupervisorOptions()),
    "patient": ([forked("worker-0", 1, stubborn, grace_s=3600.0)], SupervisorOptions(hurry_s=0.1)),
    "draining": (
        [Row(name="redis", stage=0, argv=SLEEP), forked("worker-0", 1, stubborn, grace_s=3600.0)],
        SupervisorOptions(hurry_s=0.1, restart=QUICK),
    ),
    "hanging": (
        [forked("worker-0", 1, hanging)],
        SupervisorOptions(pulse_timeout_s=0.5, restart=QUICK),
    ),
    "late": ([forked("worker-0", 1, late), forked("ingest-0", 2, obedient)], SupervisorOptions()),
    "raising": ([forked("worker-0", 1, raising)], SupervisorOptions(restart=QUICK)),
    "dice": (
        [forked("worker-0", 1, rolling_dice), forked("worker-1", 1, rolling_dice)],
        SupervisorOptions(),
    ),
    "orphaning": ([forked("worker-0", 1, orphaning)], SupervisorOptions()),
}


def with_private_server() -> tuple[list[Row], SupervisorOptions]:
    server = prepare(DIRECTORY / "data")
    redis = Row(name="redis", stage=0, argv=server.argv, ready=server.ready, grace_s=20.0)
    return [redis, forked("worker-0", 1, obedient)], SupervisorOptions(restart=QUICK)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    rows, options = with_private_server() if sys.argv[1] == "private" else SCENARIOS[sys.argv[1]]
    supervisor = Supervisor(rows, options)
    code = supervisor.run()
    note(f"supervisor {supervisor!r}")
    sys.exit(code)
