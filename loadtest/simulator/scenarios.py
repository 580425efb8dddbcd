"""The failures that were seen in the field, to be played by number or by name. Each is rules and nothing else.

They speak of *old* connections (those there are when the scenario begins, or the first one) when the failure is one
connection's, so that whoever replaces it is well again; and of all when Apple as a whole is in trouble: that lasts
until another script is set. Tokens that begin with `dead` or `beef` are the devices that a scenario means.

The table is in `field_failures`.
"""

from collections.abc import Iterable

import msgspec

from loadtest.simulator.actions import Action, Delay, StopReading, WithholdWindow
from loadtest.simulator.field_failures import SCENARIOS, Scenario
from loadtest.simulator.script import Rule

__all__ = ["SCENARIOS", "Scenario", "narrowed", "scenario"]


def scenario(name: str) -> Scenario:
    """The scenario with this number (`S14`) or name (`graceful goaway`). ValueError says which there are."""
    wanted = name.strip().lower().replace("-", " ").replace("_", " ")
    for number, each in SCENARIOS.items():
        if wanted in (number.lower(), each.name):
            return each
    known = ", ".join(f"{number} ({each.name})" for number, each in SCENARIOS.items())
    raise ValueError(f"name: {name!r} is no scenario; write one of {known}")


def narrowed(
    rules: Iterable[Rule],
    *,
    team: str | None = None,
    connection: int | None = None,
    slowness: float = 1.0,
) -> list[Rule]:
    """The same for one team or one connection only, and slower or faster.

    A rule at `connect` knows no team yet and stays as it is.
    """
    narrow = []
    for rule in rules:
        given: dict[str, object] = {} if connection is None else {"connection": connection, "old": None}
        if team is not None and rule.at == "request":
            given["team"] = team
        then = tuple(_slowed(action, slowness) for action in rule.then)
        narrow.append(
            msgspec.structs.replace(rule, then=then, match=msgspec.structs.replace(rule.match, **given))
        )
    return narrow


def _slowed(action: Action, slowness: float) -> Action:
    match action:
        case Delay(delay_s=delay_s):
            return Delay(delay_s=delay_s * slowness)
        case WithholdWindow(for_s=float() as for_s):
            return WithholdWindow(for_s=for_s * slowness)
        case StopReading(ping_every_s=every_s):
            return StopReading(ping_every_s=every_s * slowness)
        case _:
            return action
