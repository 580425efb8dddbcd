"""Delays that double, for whatever has failed again. Pure."""


def doubled_s(times: int, first_s: float, most_s: float) -> float:
    """``first_s`` doubled so many times, at most ``most_s``."""
    # so often doubled it is over any bound, and more often it would be over that of a float
    return min(most_s, first_s * 2.0 ** min(times, 60))


def backoff_s(times: int, first_s: float, most_s: float, chance: float) -> float:
    """The same with full jitter: ``chance`` (0 to 1) of it.

    A uniform draw up to the bound spreads what failed together over the whole interval; without it a burst would come
    again as a burst (Brooker, *Exponential backoff and jitter*).
    """
    return chance * doubled_s(times, first_s, most_s)
