"""When a pool opens a link. Pure.

Apple asks for few connections, kept open, and treats rapid opening as an attack; so a pool opens one, waits until
APNs has proved it (a fresh link takes one stream until its first push is accepted), and opens another only when
every link has been full for a while with work waiting.
"""

from typing import NamedTuple


class LinkOptions(NamedTuple):
    """``most``: links of one pool in one worker. ``full_s``: how long all must be full before there is one more;
    ``apart_s``: the time between openings. ``redial_*_s`` bound the delay after a dial that failed."""

    most: int = 4
    full_s: float = 0.05
    apart_s: float = 0.25
    redial_first_s: float = 1.0
    redial_most_s: float = 60.0


class PoolFacts(NamedTuple):
    """``waiting`` jobs without a stream; ``links`` usable; ``opening`` dialled or not yet proved; times in seconds."""

    waiting: int
    links: int
    opening: int
    full_for_s: float
    since_opening_s: float


def wants_link(pool: PoolFacts, options: LinkOptions) -> bool:
    """Whether to open one more link now."""
    if not pool.waiting or pool.opening:
        return False
    if not pool.links:
        return True
    return (
        pool.links < options.most
        and pool.full_for_s >= options.full_s
        and pool.since_opening_s >= options.apart_s
    )
