"""Puts on a worker's sheet what its parts know: tallies, and how they stand.

It is copied twice a second, so that it costs a push nothing. Only waits are measured as pushes pass (``waits``).
"""

from collections import Counter
from collections.abc import Sized

from engine.worker import measures
from engine.worker.hand import Hand
from engine.worker.pools import Pools
from shards.measures import Sheet


class Report:
    """``held`` are the shards of the worker."""

    def __init__(self, sheet: Sheet, tally: Counter[str], hand: Hand, pools: Pools, held: Sized) -> None:
        self._sheet = sheet
        self._tally = tally
        self._told: Counter[str] = Counter()
        self._hand = hand
        self._pools = pools
        self._held = held
        self._opened = self._spared = 0

    def __repr__(self) -> str:
        return f"<Report {dict(self._told)}>"

    def __call__(self) -> None:
        """Bring the sheet up to date."""
        self._count()
        self._look()

    def _count(self) -> None:
        now = Counter(self._tally)
        for name, count in (now - self._told).items():
            outcome, _, reason = name.partition(" ")
            if outcome == "refused":
                self._sheet.add(measures.PUSHES, count, "buried")
                self._sheet.add(measures.BURIED, count, reason.partition(":")[0])
            else:
                self._sheet.add(measures.PUSHES, count, name.replace(" ", "_"))
        self._told = now
        opened, spared = self._pools.opened(), self._pools.spared()
        self._sheet.add(measures.LINKS_OPENED, opened - self._opened)
        self._sheet.add(measures.LINKS_SPARED, spared - self._spared)
        self._opened, self._spared = opened, spared

    def _look(self) -> None:
        sheet, pools = self._sheet, self._pools.all()
        links = [link for pool in pools for link in pool.links]
        for link in links:
            for trip_s in link.trip.told():
                sheet.observe(measures.TRIP_S, trip_s)
        states = Counter(link.phase.name.lower() for link in links)
        for state in measures.LINKS.values:
            sheet.set(measures.LINKS, states[state], state)
        sheet.set(measures.IN_HAND, self._hand.jobs)
        sheet.set(measures.IN_HAND_GOAL, self._hand.goal())
        sheet.set(measures.WAITING, sum(len(pool.backlog) for pool in pools))
        sheet.set(measures.STREAMS, sum(link.in_flight() for link in links))
        sheet.set(measures.ROOM, sum(max(0, link.room()) for link in links))
        sheet.set(measures.WINDOW, sum(link.connection.window for link in links if link.usable))
        sheet.set(measures.POOLS, len(pools))
        sheet.set(measures.SHARDS, len(self._held))
