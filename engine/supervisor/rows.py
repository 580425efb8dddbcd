"""The table of children: one row says all that the supervisor needs to know about a child.

A new kind of child is a new row, never a branch in the supervisor. Example:

    rows = [
        Row(name="redis", stage=0, argv=tuple(server.argv), ready=server.ready, grace_s=30),
        *(Row(name=f"worker-{i}", index=i, stage=1, run=run_worker, pulsed=True) for i in range(2)),
        Row(name="ingest-0", stage=2, run=run_ingest, pulsed=True),
    ]
    sys.exit(Supervisor(rows).run())

What a forked child promises: it leaves a pulse about once a second if its row says `pulsed`, it stops
on `stop_signal` within `grace_s`, it stops when its lifeline ends, and its exit code is 0 after a stop
that was asked for and 3 (with one line on stderr) when it cannot boot.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import msgspec

from engine.policy.restart import RestartOptions
from engine.supervisor.pulse import ChildContext


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One child. Raises ValueError when the fields contradict each other."""

    name: str
    # Stages are started in ascending order, each when the one before it is ready, and stopped in
    # descending order, each when the one above it has gone: a child may lean on lower stages.
    stage: int
    # Exactly one of the two: a forked Python child, whose result is its exit code, or a foreign
    # program (argv[0] is a path), which is told of our death by the kernel instead of a lifeline.
    run: Callable[[ChildContext], int] | None = None
    argv: tuple[str, ...] | None = None
    # Which one of its kind: worker-3 has 3. The child finds it in its context.
    index: int = 0
    # Asked again and again until it says yes, in the supervisor's only thread: it must answer
    # quickly, and it must not raise.
    ready: Callable[[], bool] | None = None
    ready_s: float = 60.0
    # Whether the child pulses. One that does counts as ready only after its first pulse.
    pulsed: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0

    def __post_init__(self) -> None:
        if (self.run is None) == (self.argv is None):
            raise ValueError(f"row {self.name!r}: write either run= or argv=")
        if self.argv is not None and not self.argv:
            raise ValueError(f"row {self.name!r}: argv needs at least the program's path")
        if self.pulsed and self.run is None:
            raise ValueError(f"row {self.name!r}: a foreign program cannot pulse; leave pulsed=False")

    @property
    def foreign(self) -> bool:
        """Whether the child is a program of others."""
        return self.argv is not None


class SupervisorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all rows alike."""

    # A pulse older than this is a hang: the child is killed and started again.
    pulse_timeout_s: float = 30.0
    # The grace of each stage once a second SIGTERM or SIGINT has said "now".
    hurry_s: float = 1.0
    restart: RestartOptions = RestartOptions()


def checked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The table, if it is one. Raises ValueError for none at all and for two rows of one name."""
    if not rows:
        raise ValueError("a supervisor needs at least one row")
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"rows need names of their own; used more than once: {', '.join(twice)}")
    return tuple(rows)
