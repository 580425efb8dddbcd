"""How fast links are opened. Pure.

Apple asks for few connections, kept open, and treats rapid opening as an attack; so a pool opens one, waits until
APNs has proved it (a fresh link takes one stream until its first push is accepted), and only then another, if it needs
one (``growth``).

Until its first push nothing on a connection says whose it is. So a dial that fails is the host's fault: all pools of
the host leave it alone for a while, and one of them tries again for all. A link that ends before it was of use may be
the fault of its credential, and only its own pool waits. Beside both stands a limit on how fast one worker dials a
host, whatever the reasons, because a thousand tenants can each have a good one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from engine.policy.pause import PauseOptions


class LinkOptions(NamedTuple):
    """``most``: links of one pool in one worker. ``pools_most``: pools of one worker; ``idle_s``: after which one that
    has not been used is closed. ``full_s``: how long all links must be full before one more is opened, ``apart_s``:
    between openings. Answers are late, so that one more would not help, that take more than ``late_times`` the shortest
    round trip and ``late_s``. ``spare_s``: after which a link that the others made needless is closed.

    ``steady_s``: a link that ends sooner counts as a failure, after which the next dial waits. ``overdue_s``: a push
    has no answer, and is given up as in doubt. ``silent_s``: nothing came from APNs while pushes were under way (it is
    pinged after half of that); ``woken_s``: the same for a link that had carried nothing for ``rest_s`` before, and may
    be forgotten by whatever lies between. ``stuck_s``: a link can take nothing though jobs wait and none is under way,
    whatever APNs says meanwhile. ``blocked_s``: the network takes nothing of what was written. ``faults_most``: in a
    row, answers of 5xx or batches of refused streams. ``probes``: jobs that a pool without a link keeps to try with.
    ``dial_s``: from the look-up to SETTINGS. ``host_redial_most_s``: the longest delay while a host is down, when all
    its pools wait for one dial. ``dials_per_s``: to one host from one worker, after ``dials_burst`` at once.
    ``shun_s``: how long an address that could not be dialled is passed over for another.
    ``pause``: for credentials that APNs refuses.
    """

    most: int = 16
    pools_most: int = 1_000
    idle_s: float = 600.0
    full_s: float = 0.05
    apart_s: float = 0.25
    late_times: float = 1.1
    late_s: float = 0.002
    spare_s: float = 120.0
    redial_first_s: float = 1.0
    redial_most_s: float = 10.0
    host_redial_most_s: float = 4.0
    steady_s: float = 10.0
    overdue_s: float = 30.0
    silent_s: float = 10.0
    stuck_s: float = 30.0
    faults_most: int = 20
    probes: int = 4
    rest_s: float = 60.0
    woken_s: float = 3.0
    blocked_s: float = 10.0
    dial_s: float = 5.0
    dials_per_s: float = 20.0
    dials_burst: int = 40
    shun_s: float = 60.0
    pause: PauseOptions = PauseOptions()


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


class DialPace(NamedTuple):
    """The dials that a worker may still make to a host at once, as they were at a time."""

    spare: float
    at_s: float


def paced(pace: DialPace, now_s: float, options: LinkOptions) -> DialPace | None:
    """What is left after one more dial; None when there are none to spare."""
    spare = min(options.dials_burst, pace.spare + (now_s - pace.at_s) * options.dials_per_s)
    return DialPace(spare - 1, now_s) if spare >= 1 else None


def pick_address(
    addresses: Sequence[str],
    links: Mapping[str, int],
    shunned: Collection[str],
    draw: Callable[[int], int],
) -> int:
    """The place of the address with the fewest links; ``draw(n)`` decides among equals.

    Those that failed lately come after all others: that a server of Apple's is down must not stop the rest.
    """
    ranks = [(address in shunned, links.get(address, 0)) for address in addresses]
    best = [place for place, rank in enumerate(ranks) if rank == min(ranks)]
    return best[draw(len(best))]
