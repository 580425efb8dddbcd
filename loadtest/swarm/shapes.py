"""How many users push at which moment of a run: shapes by name. Pure: the time is an argument.

- *none*: as many users as were asked for, come at the spawn rate, until the run time is over, if it has an end;
- *ramp*: more users in steps, up to all of them, which then stay for the last fifth: where does it begin to hurt?
- *spike*: a tenth of the users, and all of them at once for the middle fifth: what does it do, and how does it recover?
- *soak*: all users for as long as it takes, come and gone gently: what grows?
"""

from enum import StrEnum
from typing import Final, NamedTuple

RAMP_STEPS: Final = 20
RAMP_SHARE: Final = 0.8
SPIKE_FROM: Final = 0.4
SPIKE_TO: Final = 0.6
# one in so many
SPIKE_RESTING: Final = 10
SOAK_EDGE_SHARE: Final = 0.05
SOAK_EDGE_STEPS: Final = 5


class Shape(StrEnum):
    NONE = "none"
    RAMP = "ramp"
    SPIKE = "spike"
    SOAK = "soak"


# for how long a shape is played when nobody says; none has no end of its own
RUN_TIMES_S: Final = {Shape.RAMP: 300.0, Shape.SPIKE: 180.0, Shape.SOAK: 3600.0}


class Crowd(NamedTuple):
    """Users that there shall be, and how many may come, or go, in a second."""

    users: int
    per_s: float


def crowd_at(
    shape: Shape, at_s: float, users: int, per_s: float, run_time_s: float | None = None
) -> Crowd | None:
    """Who shall be there ``at_s`` seconds into the run, None when it is over.

    ``users`` are the most that a shape comes to, ``per_s`` is the spawn rate of those shapes that go without haste.
    """
    length_s = run_time_s or RUN_TIMES_S.get(shape, float("inf"))
    if at_s >= length_s:
        return None
    at = at_s / length_s
    match shape:
        case Shape.NONE:
            return Crowd(users, per_s)
        case Shape.RAMP:
            step = min(RAMP_STEPS, 1 + int(RAMP_STEPS * at / RAMP_SHARE))
            return _in_a_second(users, _part(users, step, RAMP_STEPS))
        case Shape.SPIKE:
            is_spike = SPIKE_FROM <= at < SPIKE_TO
            return _in_a_second(users, users if is_spike else _part(users, 1, SPIKE_RESTING))
        case Shape.SOAK:
            from_edge = min(at, 1 - at) / SOAK_EDGE_SHARE
            step = min(SOAK_EDGE_STEPS, 1 + int(SOAK_EDGE_STEPS * from_edge))
            return Crowd(_part(users, step, SOAK_EDGE_STEPS), per_s)


def _in_a_second(most: int, users: int) -> Crowd:
    return Crowd(users, float(most))


def _part(users: int, parts: int, of: int) -> int:
    # rounded up: a part of few users is still someone
    return -(-users * parts // of)
