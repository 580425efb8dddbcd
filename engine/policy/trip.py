"""The round trip of a link: the shortest of late, which is that of the way without what waits on it, and the usual one.
Pure.
"""

from typing import Final

# a way that has become longer is believed after two of these; in each there is a moment with little in hand (``pace``)
WINDOW_S: Final = 11.0
# kept for whoever counts them; beyond that, nobody does
UNTOLD_MOST: Final = 1_000
# what one more round trip weighs in the usual one, as in RFC 6298, section 2
WEIGHT: Final = 1 / 8


class Trip:
    """``least_s``: the shortest round trip of the last one or two windows, ``lately_s``: a smoothed mean; 0 while none
    is known."""

    __slots__ = ("_before_s", "_began_s", "_now_s", "_untold", "lately_s", "least_s")

    def __init__(self) -> None:
        self.least_s = self.lately_s = 0.0
        self._before_s = self._now_s = float("inf")
        self._began_s = float("-inf")
        self._untold: list[float] = []

    def __repr__(self) -> str:
        return f"<Trip {1000 * self.least_s:.1f} ms>"

    def took(self, trip_s: float, now_s: float) -> None:
        """A push was answered so long after it was written."""
        if now_s - self._began_s >= WINDOW_S:
            self._before_s, self._now_s, self._began_s = self._now_s, trip_s, now_s
        else:
            self._now_s = min(self._now_s, trip_s)
        self.least_s = min(self._before_s, self._now_s)
        self.lately_s += (trip_s - self.lately_s) * WEIGHT if self.lately_s else trip_s
        if len(self._untold) < UNTOLD_MOST:
            self._untold.append(trip_s)

    def told(self) -> list[float]:
        """The round trips since this was last asked, for who counts them."""
        told, self._untold = self._untold, []
        return told
