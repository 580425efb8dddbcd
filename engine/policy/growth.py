"""How many links a pool has: one more when all are full and one more would help, one less when it has long been idle.
Pure.

What a link can have under way is bounded: by the streams that APNs allows, and by the windows, of which a connection
has 65,535 bytes. So over a long way a link carries no more than that for each round trip, and the number of links has
to follow what is to be under way. None of this is computed from SETTINGS. A link that has no room while pushes wait is
full, whichever bound it met; and the rate that is wanted makes pushes wait, because the hand is larger than what the
way holds (``pace``).

But links are also full when APNs, or the CPU under us, does not keep up: then answers come late, and with them streams
and windows. More links would bring no more answers, and would press on whoever is behind already. The two are told
apart by the round trip. By Little's law the answers a second are what is under way by how long it takes; full links
carry all that they could carry as long as it takes no longer than the shortest of late, which is the way's own.
Likewise not while APNs fails: what is answered 5xx is not answered.

The links of a pool are filled in their order, so the last ones rest when there is less to do, and the one that has
rested for long is closed. Long, since Apple wants connections kept, and a load that comes in waves should find them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from engine.policy.links import LinkOptions

# of answers, above which APNs is taken to be failing
FAILED_SHARE_MOST: Final = 0.1
# answers that one makes up its mind by
FAILED_OF: Final = 50


class PoolFacts(NamedTuple):
    """``waiting`` jobs without a stream; ``links`` usable; ``opening`` dialled or not yet proved; times in seconds.
    ``trip_s``: the shortest round trip, and ``lately_s`` the usual one now; 0 while unknown. ``failing``: APNs is."""

    waiting: int
    links: int
    opening: int
    full_for_s: float
    since_opening_s: float
    trip_s: float = 0.0
    lately_s: float = 0.0
    failing: bool = False


def wants_link(pool: PoolFacts, options: LinkOptions) -> bool:
    """Whether to open one more link now."""
    if not pool.waiting or pool.opening or pool.since_opening_s < options.apart_s:
        return False
    if not pool.links:
        return True
    if pool.links >= options.most or pool.full_for_s < options.full_s:
        return False
    return not pool.failing and pool.lately_s <= options.late_times * pool.trip_s + options.late_s


def spare(idle_s: Sequence[float], options: LinkOptions) -> bool:
    """Whether the last of a pool's links can go; ``idle_s``: how long each has taken nothing, in their order."""
    return len(idle_s) > 1 and idle_s[-1] >= options.spare_s


class Failures:
    """The share of answers of late that were 5xx."""

    __slots__ = ("_answers", "_failed")

    def __init__(self) -> None:
        self._answers = self._failed = 0.0

    def __repr__(self) -> str:
        return f"<Failures {self._failed:.0f} of {self._answers:.0f}>"

    def count(self, answers: int, failed: int) -> None:
        """So many came, and so many of them were 5xx."""
        self._answers += answers
        self._failed += failed
        if self._answers > 2 * FAILED_OF:
            # fewer are as good, and what comes next weighs more
            self._failed *= FAILED_OF / self._answers
            self._answers = FAILED_OF

    @property
    def many(self) -> bool:
        """Whether APNs is failing."""
        return self._failed > FAILED_SHARE_MOST * max(self._answers, FAILED_OF)
