"""``tuning``: what each setting of the profiles brings: the same with the setting and without it, in turn.

Without it means with a value that a host may well have in its place: Linux' or Redis' default, or an older one, or a
small one of the same kind; the result names both. Settings of the network are changed in network namespaces only, those
of Redis in servers of this benchmark's own, limits in processes of its own; the host's are left alone, and a setting
that can be measured in no such way is named with the reason, as is one that this process has no rights for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cyclopts import Parameter

from loadtest.bench import tuning_verdict as verdict
from loadtest.bench.namespace import Refused
from loadtest.bench.tuning_cases import CASES, WHY_NOT, Case
from loadtest.bench.tuning_verdict import Measured, Unmeasured
from tuning.profile import NAMES, Kind, Setting, Test, load
from tuning.verdict import written


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """What is measured, and how often."""

    only: tuple[str, ...] = ()
    "Names of settings; without any, all."

    rounds: int = 3
    "How often each is measured with each of its values."


def run(options: TuningOptions) -> dict[str, Any]:
    """All settings, or some. ``failed`` names those that make worse what they are for. Raises ValueError for a name
    that is no setting's."""
    settings = wanted_settings()
    unknown = set(options.only) - {name for _, name in settings}
    if unknown:
        raise ValueError(f"no profile has {', '.join(sorted(unknown))}")
    found: list[Measured] = []
    missing: list[Unmeasured] = []
    for case in CASES:
        if not options.only or case.name in options.only:
            measured, refused = _compared(case, settings[case.kind, case.name], options.rounds)
            found += measured
            missing += refused
    missing += [
        Unmeasured(kind, name, why)
        for (kind, name), why in WHY_NOT.items()
        if not options.only or name in options.only
    ]
    # each value of a setting may be refused for the same reason
    return {**verdict.told(found, list(dict.fromkeys(missing))), "options": asdict(options)}


def wanted_settings() -> dict[tuple[Kind, str], Setting]:
    """Every setting of the profiles once, that of the first profile which has it."""
    return {(each.kind, each.name): each for name in reversed(NAMES) for each in load(name).setting}


def _compared(case: Case, setting: Setting, rounds: int) -> tuple[list[Measured], list[Unmeasured]]:
    """Every figure of the case, for each value that is wanted; and what this host does not allow."""
    wanted = [written(setting)]
    if case.each and setting.test is Test.ONE_OF and isinstance(setting.want, list):
        wanted = [str(value) for value in setting.want]
    runs: dict[str, list[Sequence[float]]] = {value: [] for value in (case.without, *wanted)}
    refused: list[Unmeasured] = []
    for turn in range(rounds):
        for value in list(runs):
            try:
                runs[value].append(case.measure(value, turn))
            except Refused as error:
                del runs[value]
                refused.append(Unmeasured(case.kind, case.name, str(error)))
    without = runs.pop(case.without, [])
    measured = [
        Measured(
            case.kind,
            case.name,
            case.without,
            value,
            figure,
            [run[place] for run in without],
            [run[place] for run in those],
        )
        for value, those in runs.items()
        for place, figure in enumerate(case.figures)
        if without
    ]
    return measured, refused
