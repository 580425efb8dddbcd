"""The life of a child as a table: what is not in it cannot happen, and raises.

    STOPPED --START--> STARTING --READY--> RUNNING --STOP--> STOPPING --GONE--> STOPPED
    STARTING or RUNNING --DIED--> WAITING --START--> STARTING        (to be started again)
    STARTING or RUNNING --GONE--> STOPPED                            (not to be started again)
    STARTING --STOP--> STOPPING        WAITING --STOP--> STOPPED     (there is nobody to wait for)

A child has a process in STARTING, RUNNING and STOPPING, and none in the other two.
"""

from __future__ import annotations

import enum
from typing import Final


class Phase(enum.Enum):
    """Where a child is in its life."""

    STOPPED = "stopped"  # no process, and none is due
    STARTING = "starting"  # forked, not known to be ready
    RUNNING = "running"  # ready
    STOPPING = "stopping"  # asked to stop, not gone
    WAITING = "waiting"  # dead, to be started again after its delay


class Step(enum.Enum):
    """What happens to a child."""

    START = "start"
    READY = "ready"
    STOP = "stop"
    DIED = "died"
    GONE = "gone"


TRANSITIONS: Final[dict[tuple[Phase, Step], Phase]] = {
    (Phase.STOPPED, Step.START): Phase.STARTING,
    (Phase.WAITING, Step.START): Phase.STARTING,
    (Phase.STARTING, Step.READY): Phase.RUNNING,
    (Phase.STARTING, Step.STOP): Phase.STOPPING,
    (Phase.RUNNING, Step.STOP): Phase.STOPPING,
    (Phase.WAITING, Step.STOP): Phase.STOPPED,
    (Phase.STARTING, Step.DIED): Phase.WAITING,
    (Phase.RUNNING, Step.DIED): Phase.WAITING,
    (Phase.STARTING, Step.GONE): Phase.STOPPED,
    (Phase.RUNNING, Step.GONE): Phase.STOPPED,
    (Phase.STOPPING, Step.GONE): Phase.STOPPED,
}

ALIVE: Final = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})


class ImpossibleStep(Exception):
    """A step that its phase does not have: a fault of the supervisor itself."""


def advance(phase: Phase, step: Step) -> Phase:
    """The phase after `step`. Raises ImpossibleStep for a pair that the table does not have."""
    try:
        return TRANSITIONS[phase, step]
    except KeyError:
        raise ImpossibleStep(f"no {step.name} in {phase.name}") from None
