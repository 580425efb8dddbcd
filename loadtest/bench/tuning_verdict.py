"""What a host's settings bring, as the result says it: each figure without and with the setting. Pure."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final, Literal, NamedTuple

from tuning.profile import Kind

# a figure that is worse with its setting by more than this share of what it is without
WORSE_MOST: Final = 0.2

Wish = Literal["more", "less", ""]


class Figure(NamedTuple):
    """What is measured, in words, and its unit. ``wish``: what the setting is for; "" for what it may cost, and for
    what is only to be known."""

    what: str
    unit: str
    wish: Wish = ""


class Measured(NamedTuple):
    """One figure of a setting, with a number for each round of either value."""

    kind: Kind
    name: str
    without: str
    wanted: str
    figure: Figure
    runs_without: Sequence[float]
    runs_with: Sequence[float]


class Unmeasured(NamedTuple):
    """A setting of the profiles of which there is no figure, and why."""

    kind: Kind
    name: str
    why: str


def told(found: Sequence[Measured], missing: Sequence[Unmeasured]) -> dict[str, Any]:
    """As the result says them. ``failed`` names what misses its wish."""
    return {
        "settings": [_told(each) for each in found],
        "not_measured": [{"kind": each.kind.value, "name": each.name, "why": each.why} for each in missing],
        "failed": failures(found),
    }


def _told(each: Measured) -> dict[str, Any]:
    return {
        "kind": each.kind.value,
        "name": each.name,
        "what": each.figure.what,
        "unit": each.figure.unit,
        "without": _side(each.without, each.runs_without),
        "with": _side(each.wanted, each.runs_with),
    }


def _side(value: str, runs: Sequence[float]) -> dict[str, Any]:
    return {
        "value": value,
        "median": rounded(median(runs)),
        "runs": [rounded(run) for run in runs],
    }


def rounded(number: float) -> float:
    """Three digits that say something; whole from 100 on."""
    return round(number) if abs(number) >= 100 else float(f"{number:.3g}")


def failures(found: Sequence[Measured]) -> list[str]:
    """In words; empty when no setting makes worse what it is for."""
    return [
        f"{each.name} {each.wanted}: {each.figure.what}: {rounded(median(each.runs_with))} {each.figure.unit}, and "
        f"{rounded(median(each.runs_without))} with {each.without or '(empty)'}"
        for each in found
        if _is_worse(each)
    ]


def _is_worse(each: Measured) -> bool:
    without, wanted = median(each.runs_without), median(each.runs_with)
    match each.figure.wish:
        case "more":
            return wanted < without * (1 - WORSE_MOST)
        case "less":
            return wanted > without * (1 + WORSE_MOST)
        case "":
            return False
