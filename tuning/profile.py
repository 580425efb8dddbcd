"""Profiles: what a host of a kind should be set to, each setting with its reason and source."""

import tomllib
from collections.abc import Sequence
from enum import StrEnum
from importlib import resources
from typing import Final

import msgspec

Value = int | str | list[int | str]


class Kind(StrEnum):
    """Where a setting is made. ``file``: a file of the kernel's that is no sysctl."""

    LIMIT = "limit"
    SYSCTL = "sysctl"
    FILE = "file"
    REDIS = "redis"
    SYSTEMD = "systemd"


class Test(StrEnum):
    """How a value is compared with what is wanted. ``range``: it begins no later and ends no earlier."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    AT_LEAST_EACH = "at_least_each"
    IS = "is"
    ONE_OF = "one_of"
    RANGE = "range"

    # pytest is not to take it for tests
    __test__ = False


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting. ``why`` goes on after "because", and ``source`` says who says so. ``measured``: what it brings, in
    the rounded figures of ``scripts/bench tuning``; "" where one machine can't tell."""

    kind: Kind
    name: str
    want: Value
    why: str
    source: str
    measured: str = ""
    test: Test = Test.AT_LEAST


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of host in a few words, and its settings.

    ``like``: the profile whose settings it has as well, but for those of its own by the same name and those of the
    kinds in ``without``. Of one by the same name that has not been measured itself, what was measured there is told.
    """

    summary: str
    setting: Sequence[Setting]
    like: str = ""
    without: Sequence[Kind] = ()

    def of(self, *kinds: Kind) -> list[Setting]:
        return [each for each in self.setting if each.kind in kinds]


NAMES: Final = ("small", "large", "container")


def load(name: str) -> Profile:
    """The profile of that name, one of ``NAMES``."""
    text = resources.files("tuning").joinpath("profiles", f"{name}.toml").read_text()
    written = msgspec.convert(tomllib.loads(text), type=Profile)
    if not written.like:
        return written
    settings = {
        (each.kind, each.name): each
        for each in load(written.like).setting
        if each.kind not in written.without
    }
    for each in written.setting:
        place = each.kind, each.name
        measured = each.measured or (settings[place].measured if place in settings else "")
        settings[place] = msgspec.structs.replace(each, measured=measured)
    return Profile(summary=written.summary, setting=list(settings.values()))
