"""How much a worker takes in hand: as much as keeps its links busy, and little more. Pure.

What is claimed and not yet answered waits somewhere: in a pool, in a socket, at APNs. As long as there is less in hand
than the way there and back holds at the rate at which answers come, more in hand brings more answers. Beyond that it
only waits longer, and whoever is claimed next waits behind it. So the hand follows the rate times the round trip (the
bandwidth-delay product; Cardwell and others, *BBR*, 2016), with some more for what the worker itself takes: much while
nobody would wait behind it, since large batches are cheap, and next to nothing in company. A batch is what one link is
given at once, so with very many links it takes a large hand to make batches of any size.

It also makes claims what everybody waits for, whose turns follow the weights. A queue behind them knows none.

Jobs of flows that do not move (their link is dead, or APNs does not answer) say nothing of the way of the others, so
they do not count. How much of the hand they may fill is for ``sharing``.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

# What is in hand beyond what the way holds: much, which is cheapest, while nobody would wait behind it. And more than
# the way holds, so that the hand grows with each round trip until it is enough.
SLACK_S: Final = 0.15
TRIP_TIMES: Final = 1.5
# of the most that may be in hand, so much is for the slack at most: what bounds a flow by the places that are free
# (``sharing``) must not bind while flows are served by their weights
SLACK_SHARE_MOST: Final = 0.25
SLACK_IN_COMPANY_S: Final = 0.002
TRIP_TIMES_IN_COMPANY: Final = 1.25
# With fewer for each link, TLS and the kernel cost more than the pushes. A round is three quarters of it, so a batch
# of 24 at most; with 500 links a push costs then 1.4 times what it costs with one, and with batches of 16 1.6 times.
FOR_LINK: Final = 32
# So often, for so long, as little as may be is in hand: a round trip is only that of the way while nothing waits on it.
PROBE_EVERY_S: Final = 10.0
PROBE_S: Final = 0.2
# the rate is the highest of late: a moment's pause is no reason to take less
FADES: Final = 0.9
LOOK_S: Final = 0.1
# in which flows are looked at one by one; above it, less often
FLOWS_CHEAP: Final = 500


class Way(NamedTuple):
    """To APNs: the round trip, 0 if unknown, and the links that were written to lately."""

    trip_s: float
    links: int


class Pace:
    """``least`` and ``most``: bounds of what is taken in hand, in jobs. ``for_links`` of them are there to make batches
    for each link."""

    def __init__(self, least: int, most: int) -> None:
        self.target = least
        # jobs in hand of flows that do not move
        self.stuck = 0
        self.for_links = 0
        self._least = least
        self._most = most
        self._per_s = 0.0
        self._done = 0
        self._looked_s: float | None = None
        self._probed_s = 0.0
        self._still: Mapping[str, int] = {}

    def __repr__(self) -> str:
        return f"<Pace {self.target} in hand, {self._per_s:.0f}/s, {self.stuck} stuck>"

    def is_due(self, now_s: float, flows: int) -> bool:
        """Whether it is time to look again."""
        if self._looked_s is None:
            return True
        return now_s - self._looked_s >= LOOK_S * max(1.0, flows / FLOWS_CHEAP)

    def look(
        self,
        now_s: float,
        done: int,
        flows: Mapping[str, int],
        moved: set[str],
        way: Way,
        company: bool,
    ) -> None:
        """``done``: jobs that have met their fate since the worker began; ``flows``: jobs in hand of each; ``moved``:
        those that came, or met their fate, since the last look; ``company``: there are flows that would wait for what
        others have in hand."""
        if self._looked_s is None:
            self._probed_s = now_s
        else:
            per_s = (done - self._done) / (now_s - self._looked_s)
            self._per_s = max(per_s, self._per_s * FADES)
        self._looked_s, self._done = now_s, done
        if company:
            wanted = self._per_s * (TRIP_TIMES_IN_COMPANY * way.trip_s + SLACK_IN_COMPANY_S)
        else:
            slack = min(self._per_s * SLACK_S, self._most * SLACK_SHARE_MOST)
            wanted = self._per_s * TRIP_TIMES * way.trip_s + slack
        self.for_links = 0 if company else min(self._most, FOR_LINK * way.links)
        self.target = round(max(self._least, self.for_links, min(self._most, wanted)))
        if now_s - self._probed_s >= PROBE_EVERY_S:
            self.target = self._least
            if now_s - self._probed_s >= PROBE_EVERY_S + PROBE_S:
                self._probed_s = now_s
        still = {flow: held for flow, held in flows.items() if flow not in moved}
        # twice in a row: the first look may come in the middle of a round trip
        self.stuck = sum(held for flow, held in still.items() if flow in self._still)
        self._still = still

    def room(self, jobs: int) -> int:
        """How many may be taken, with so many in hand; below 0 if there are more than need be."""
        return self.target - (jobs - self.stuck)
