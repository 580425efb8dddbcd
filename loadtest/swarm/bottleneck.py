"""Who was at its end: Locust, which is one thread in Python, or the gateway, or the machine that both share. Pure.

All of Locust's and of the gateway's processes have one busy thread. Such a process can do no more when it takes all of
a CPU, and also when it takes less and waits for a CPU in all the time between: then others are in its way, and it would
use the CPU if it had it. What matters is how often it has nothing to do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

# of one CPU: above it a process has no time to spare
FULL: Final = 0.9
# of all CPUs together
MACHINE_FULL: Final = 0.95
# of the looks: a part that is at its end for a shorter time holds nothing up
OFTEN_ENOUGH: Final = 0.1
LOCUST: Final = "locust"
GATEWAY: Final = ("ingest", "worker", "redis")


class End(StrEnum):
    """Who was at its end."""

    LOCUST = "locust"
    CLARION = "clarion"
    MACHINE = "machine"
    NOBODY = "nobody"


class Look(NamedTuple):
    """CPU seconds within some seconds, by process, such as ingest-0: those that it had, and those that it wanted, which
    are the same and what it waited for a CPU. ``machine_s``: of the whole machine, whoever had them."""

    seconds: float
    cpu_s: Mapping[str, float]
    wanted_s: Mapping[str, float]
    machine_s: float

    def share(self, process: str) -> float:
        """Of one CPU."""
        return self.cpu_s[process] / self.seconds


class Verdict(NamedTuple):
    """Who was at its end most often, and in which share of the looks."""

    end: End
    share: float


def part_of(process: str) -> str:
    """Ingest-0 and ingest-1 are both ingest."""
    return process.partition("-")[0]


def end_of(look: Look, cpus: int) -> End:
    """Who was at its end in this look. The gateway goes first: what is full there is the answer that was looked for."""
    ran, wanted = (
        {part_of(process) for process, each in spent.items() if each >= FULL * look.seconds}
        for spent in (look.cpu_s, look.wanted_s)
    )
    # whoever waits for a CPU on a machine that has none left is not to blame
    full = ran if look.machine_s >= MACHINE_FULL * cpus * look.seconds else wanted
    if full.intersection(GATEWAY):
        return End.CLARION
    if LOCUST in full:
        return End.LOCUST
    return End.MACHINE if full is ran else End.NOBODY


def verdict(looks: Sequence[Look], cpus: int) -> Verdict:
    """Over a whole run, of which only a part may be under full load."""
    ends = Counter(end_of(look, cpus) for look in looks)
    for end, times in ends.most_common():
        if end is not End.NOBODY and times >= OFTEN_ENOUGH * len(looks):
            return Verdict(end, times / len(looks))
    return Verdict(End.NOBODY, ends[End.NOBODY] / max(len(looks), 1))


def in_words(found: Verdict, looks: Sequence[Look]) -> str:
    """What it means, and what to do about it."""
    gateway = busiest(looks, *GATEWAY)
    load = busiest(looks, LOCUST)
    others = others_share(looks)
    spent = (
        f"at its busiest Locust took {load[1]:.0%} of a CPU{_waited(looks)} and {gateway[0]} {gateway[1]:.0%}"
    )
    instead = "For more than Locust can send, 'scripts/bench e2e' has a load that costs less and waits for no answer."
    match found.end:
        case End.LOCUST:
            return (
                f"Locust was the bottleneck, in {found.share:.0%} of the run, not Clarion: {spent}. {instead}"
            )
        case End.CLARION:
            return f"Clarion was the bottleneck, in {found.share:.0%} of the run: {spent}."
        case End.MACHINE:
            lighter = "The load of 'scripts/bench e2e' takes less of them."
            quiet = "Others take most of this machine; measure when they do not."
            return (
                f"The machine was the bottleneck, in {found.share:.0%} of the run: no process was at its end, and all "
                f"CPUs were taken, {others:.0%} of it by others than this run; {spent}. "
                f"{quiet if others > 0.5 else lighter}"
            )
        case End.NOBODY:
            return f"Nobody was at its end: {spent}. More users, or --each-per-s 0, would ask for more."


def busiest(looks: Sequence[Look], *parts: str) -> tuple[str, float]:
    """The process among these parts that took the largest share of a CPU in any look, and that share."""
    shares = [
        (look.share(process), process)
        for look in looks
        for process in look.cpu_s
        if part_of(process) in parts
    ]
    share, process = max(shares, default=(0.0, "nothing"))
    return process, share


def _waited(looks: Sequence[Look]) -> str:
    """How long Locust could have run and had to wait, in words."""
    waited = [
        (look.wanted_s[name] - look.cpu_s[name]) / look.seconds
        for look in looks
        for name in look.cpu_s
        if part_of(name) == LOCUST
    ]
    most = max(waited, default=0.0)
    return f" (and waited for one for up to {most:.0%} of the time)" if most >= 0.05 else ""


def mean_share(looks: Sequence[Look], part: str) -> float:
    """What all processes of a part took together, in CPUs."""
    taken_s = sum(each for look in looks for name, each in look.cpu_s.items() if part_of(name) == part)
    return taken_s / max(sum(look.seconds for look in looks), 1e-9)


def others_share(looks: Sequence[Look]) -> float:
    """Of all CPU that the machine spent, what went to none of the run's processes."""
    machine_s = sum(look.machine_s for look in looks)
    mine_s = sum(sum(look.cpu_s.values()) for look in looks)
    return max(0.0, 1 - mine_s / machine_s) if machine_s else 0.0
