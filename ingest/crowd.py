"""How many callers an ingest process takes, by the descriptors that it may have. Pure.

A process that has none left can't open a connection to Redis any more, and then serves nobody. So some are spared, and
who comes when the others are in use is told, as long as it can be.
"""

from typing import Final, NamedTuple

SPARED_MOST: Final = 256
SPARED_SHARE: Final = 1 / 4


class Places(NamedTuple):
    """Connections: so many at most are served, and so many, with those, have an answer; others are closed."""

    served: float
    answered: float


def places(descriptors: int) -> Places:
    """``descriptors``: as ``getrlimit`` tells it, so -1 is no limit."""
    if descriptors < 0:
        return Places(float("inf"), float("inf"))
    spared = min(SPARED_MOST, int(descriptors * SPARED_SHARE))
    return Places(descriptors - spared, descriptors - spared // 2)
