"""What all answers of a run came to, by request and by push. Pure: it can be told to another process, and added up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from loadtest.swarm.answers import Finding

PLAIN: Final = ("requests", "failed_requests", "back_pressure_requests", "pushes", "accepted", "in_doubt")
BY_NAME: Final = ("held_back", "refused", "wrong")


class Tally:
    """Counts so far. ``held_back`` and ``refused`` are pushes by status and code, ``wrong`` requests by what was."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.named: dict[str, Counter[str]] = {name: Counter() for name in BY_NAME}

    def __repr__(self) -> str:
        return f"<Tally {self.counts['accepted']} of {self.counts['pushes']} pushes accepted>"

    def add(self, finding: Finding, pushes: int) -> None:
        """One answer to a request with so many pushes."""
        counts = self.counts
        counts["requests"] += 1
        counts["pushes"] += pushes
        counts["accepted"] += finding.accepted
        counts["in_doubt"] += finding.in_doubt
        counts["failed_requests"] += bool(finding.failure)
        counts["back_pressure_requests"] += bool(finding.back_pressure)
        if finding.held_back:
            self.named["held_back"].update(finding.held_back)
        if finding.refused:
            self.named["refused"].update(finding.refused)
        if finding.wrong:
            self.named["wrong"][finding.wrong] += 1

    def merge(self, told: Mapping[str, Any]) -> None:
        """Add what another process has told."""
        self.counts.update({name: told[name] for name in PLAIN})
        for name, counter in self.named.items():
            counter.update(told[name])

    def told(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {name: self.counts[name] for name in PLAIN} | {
            name: dict(self.named[name]) for name in BY_NAME
        }

    def clear(self) -> None:
        """Begin anew."""
        self.counts.clear()
        for counter in self.named.values():
            counter.clear()


def lines(told: Mapping[str, Any]) -> Iterable[str]:
    """The same for a person."""
    yield f"{told['accepted']:,} of {told['pushes']:,} pushes accepted, in {told['requests']:,} requests"
    held = sum(told["held_back"].values())
    yield f"back-pressure: {told['back_pressure_requests']:,} requests, {held:,} pushes{_named(told['held_back'])}"
    if told["in_doubt"]:
        yield f"in doubt: {told['in_doubt']:,} pushes"
    yield f"failures: {told['failed_requests']:,} requests{_named(told['wrong'])}"
    if told["refused"]:
        yield f"refused: {sum(told['refused'].values()):,} pushes{_named(told['refused'])}"


def _named(counts: Mapping[str, int]) -> str:
    found = ", ".join(f"{name} ×{count:,}" for name, count in sorted(counts.items()))
    return f" ({found})" if found else ""
