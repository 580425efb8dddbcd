"""How a host stands to a profile: each setting compared, and what to do about it in words. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from tuning.profile import Kind, Profile, Setting, Test


class State(StrEnum):
    """``unknown``: it can't be read here, which is said with what would show it."""

    GOOD = "good"
    CHANGE = "change"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """``found`` is the value as it was read, "" if it was not; ``text`` says what to do, and why."""

    setting: Setting
    state: State
    found: str
    text: str


def judge(profile: Profile, found: Mapping[tuple[Kind, str], str]) -> list[Finding]:
    """``found``: values of settings by kind and name, as far as they could be read. What systemd would set is seen in
    what it sets, so it is not compared."""
    return [
        _judged(each, found.get((each.kind, each.name)))
        for each in profile.setting
        if each.kind is not Kind.SYSTEMD
    ]


def _judged(setting: Setting, found: str | None) -> Finding:
    if found is None:
        return Finding(setting, State.UNKNOWN, "", _where_to_look(setting))
    if holds(setting, found):
        return Finding(setting, State.GOOD, found, "")
    seen = f"; measured: {setting.measured}" if setting.measured else ""
    return Finding(setting, State.CHANGE, found, f"{how(setting)}: {setting.why} ({setting.source}){seen}")


def holds(setting: Setting, found: str) -> bool:
    """Whether a value does."""
    want = setting.want
    try:
        match setting.test:
            case Test.AT_LEAST:
                return number(found) >= number(str(want))
            case Test.AT_MOST:
                return number(found) <= number(str(want))
            case Test.IS:
                return found == str(want)
            case Test.ONE_OF:
                return isinstance(want, list) and found in map(str, want)
            case Test.AT_LEAST_EACH:
                return isinstance(want, list) and all(
                    number(one) >= number(str(other)) for one, other in zip(found.split(), want, strict=True)
                )
            case Test.RANGE:
                first, last = (number(each) for each in found.split())
                return isinstance(want, list) and first <= int(want[0]) and last >= int(want[1])
    except ValueError:
        return False


def number(text: str) -> float:
    """Of a limit or a sysctl. Raises ValueError."""
    return float("inf") if text == "unlimited" else float(text)


def written(setting: Setting) -> str:
    """The wanted value as it is written down."""
    if isinstance(setting.want, list):
        return str(setting.want[0]) if setting.test is Test.ONE_OF else " ".join(map(str, setting.want))
    return str(setting.want)


def how(setting: Setting) -> str:
    """What to type."""
    value = written(setting)
    match setting.kind:
        case Kind.SYSCTL:
            return (
                f'sysctl -w {setting.name}="{value}"' if " " in value else f"sysctl -w {setting.name}={value}"
            )
        case Kind.FILE:
            return f"echo {value} > {setting.name}"
        case Kind.LIMIT:
            return f"ulimit -n {value}, or LimitNOFILE={value} for a service"
        case Kind.REDIS:
            return f'CONFIG SET {setting.name} "{value}", and the same in redis.conf'
        case Kind.SYSTEMD:
            return f"{setting.name}={value}"


def _where_to_look(setting: Setting) -> str:
    match setting.kind:
        case Kind.REDIS:
            return f"give --redis-url to see it, or ask that Redis: CONFIG GET {setting.name}"
        case Kind.SYSCTL:
            return f"this kernel or container does not show {setting.name}; look on the host"
        case _:
            return f"{setting.name} can't be read here; look on the host"
