"""When a pool opens a link, and what is done about one that does not get on. Pure.

Apple asks for few connections, kept open, and treats rapid opening as an attack; so a pool opens one, waits until
APNs has proved it (a fresh link takes one stream until its first push is accepted), and opens another only when
every link has been full for a while with work waiting.

A link can fail without ending. Its TCP connection may stay up though nothing comes back (a NAT that forgot it, a
server that hangs), APNs may go on answering PINGs but no pushes, it may answer every push of one connection with
500, or never again allow a stream or return a window. Each leads to another link; only a wire that carries nothing
at all is given up together with what is under way.
"""

from enum import StrEnum
from typing import NamedTuple


class LinkOptions(NamedTuple):
    """``most``: links of one pool in one worker. ``full_s``: how long all must be full. ``apart_s``: between openings.

    ``steady_s``: a link that ends sooner counts as a failure, after which the next dial waits. ``silent_s``: nothing
    came from APNs while pushes were under way (it is pinged after half of that). ``stuck_s``: a link takes nothing
    though jobs wait and none is under way. ``faults_most``: answers of 5xx in a row. ``probes``: jobs that a pool
    without a link keeps to try with.
    """

    most: int = 4
    full_s: float = 0.05
    apart_s: float = 0.25
    redial_first_s: float = 1.0
    redial_most_s: float = 60.0
    steady_s: float = 10.0
    silent_s: float = 10.0
    stuck_s: float = 30.0
    faults_most: int = 20
    probes: int = 16


class PoolFacts(NamedTuple):
    """``waiting`` jobs without a stream; ``links`` usable; ``opening`` dialled or not yet proved; times in seconds."""

    waiting: int
    links: int
    opening: int
    full_for_s: float
    since_opening_s: float


def wants_link(pool: PoolFacts, options: LinkOptions) -> bool:
    """Whether to open one more link now."""
    if not pool.waiting or pool.opening or pool.since_opening_s < options.apart_s:
        return False
    return not pool.links or (pool.links < options.most and pool.full_for_s >= options.full_s)


class End(StrEnum):
    """How a link ended, as far as the next dial is concerned."""

    UNPROVED = "before APNs had accepted a push on it"
    SOON = "soon after it was opened"
    STEADY = "after long use"


def end_of(proved: bool, lived_s: float, options: LinkOptions) -> End:
    """Only a link that ended after long use is replaced without delay, or closing each would make us dial for ever."""
    if not proved:
        return End.UNPROVED
    return End.STEADY if lived_s >= options.steady_s else End.SOON


class LinkFacts(NamedTuple):
    """``silent_s`` and ``stuck_s`` as in the options, 0 while they don't apply; ``pinged``: since it became silent.

    ``unanswered``: pushes passed their deadline, and no answer at all has come since they were written.
    """

    silent_s: float
    pinged: bool
    unanswered: bool
    stuck_s: float
    faults: int


class Care(StrEnum):
    """What to do about a link."""

    NOTHING = "nothing"
    PING = "ping"
    RETIRE = "retire"
    ABORT = "abort"


def care(link: LinkFacts, options: LinkOptions) -> Care:
    """Looked at twice a second; the gravest first."""
    if link.silent_s >= options.silent_s:
        return Care.ABORT
    if link.unanswered or link.stuck_s >= options.stuck_s or link.faults >= options.faults_most:
        return Care.RETIRE
    if link.silent_s >= options.silent_s / 2 and not link.pinged:
        return Care.PING
    return Care.NOTHING
