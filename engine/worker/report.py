"""Puts on a worker's sheet what its parts know: tallies, and how they stand.

It is copied twice a second, so that it costs a push nothing. Only waits are measured as pushes pass (``waits``).
"""

from collections import Counter
from collections.abc import Sized

from engine.link.link import Phase
from engine.worker import measures
from engine.worker.hand import Hand
from engine.worker.pools import Pools
from runtime.measures import Sheet


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
                self._sheet.add(measures.BURIED, count, reason)
            else:
                self._sheet.add(measures.PUSHES, count, name.replace(" ", "_"))
        self._told = now
        opened, spared = self._pools.opened(), self._pools.spared()
        self._sheet.add(measures.LINKS_OPENED, opened - self._opened)
        self._sheet.add(measures.LINKS_SPARED, spared - self._spared)
        self._opened, self._spared = opened, spared

    def _look(self) -> None:
        # in one go: there may be five hundred links
        sheet, pools = self._sheet, self._pools.all()
        states = dict.fromkeys(Phase, 0)
        waiting = streams = room = window = 0
        for pool in pools:
            waiting += len(pool.backlog)
            for link in pool.links:
                for trip_s in link.trip.told():
                    sheet.observe(measures.TRIP_S, trip_s)
                states[link.phase] += 1
                streams += link.in_flight()
                if link.usable:
                    room += max(0, link.room())
                    window += link.connection.window
        for state in measures.LINKS.values:
            sheet.set(measures.LINKS, states[Phase[state.upper()]], state)
        sheet.set(measures.IN_HAND, self._hand.jobs)
        sheet.set(measures.IN_HAND_GOAL, self._hand.goal())
        sheet.set(measures.WAITING, waiting)
        sheet.set(measures.STREAMS, streams)
        sheet.set(measures.ROOM, room)
        sheet.set(measures.WINDOW, window)
        sheet.set(measures.POOLS, len(pools))
        sheet.set(measures.SHARDS, len(self._held))
