"""A profile as the files that set it: sysctl.d, limits.d, a systemd drop-in, redis.conf. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from tuning.profile import Kind, Profile, Setting, Test
from tuning.verdict import written


class Format(StrEnum):
    """What ``clarion tune show`` can write."""

    SYSCTL = "sysctl"
    LIMITS = "limits"
    SYSTEMD = "systemd"
    REDIS = "redis"


_KINDS = {
    Format.SYSCTL: Kind.SYSCTL,
    Format.LIMITS: Kind.LIMIT,
    Format.SYSTEMD: Kind.SYSTEMD,
    Format.REDIS: Kind.REDIS,
}


def text(profile: Profile, form: Format, held: Mapping[str, str] = MappingProxyType({})) -> str:
    """One file of a profile, with the reason above each line, and what was measured.

    ``held``: values by name that are as good or better already; they are not set, since that might make them worse.
    """
    lines = [f"# Clarion: {profile.summary}"]
    if form is Format.SYSTEMD:
        lines += ["", "[Service]"]
    for setting in profile.of(_KINDS[form]):
        lines += ["", *_reasons(setting)]
        if setting.name in held:
            lines.append(f"# {setting.name} is {held[setting.name]}, which will do")
        else:
            lines += _lines(setting, form)
    if form is Format.SYSCTL:
        for setting in profile.of(Kind.FILE):
            lines += ["", f"# no sysctl, so at boot: echo {written(setting)} > {setting.name}"]
            lines += _reasons(setting)
    return "\n".join(lines) + "\n"


def _reasons(setting: Setting) -> list[str]:
    seen = [f"# measured: {setting.measured}"] if setting.measured else []
    return [f"# {setting.why} ({setting.source})", *seen]


def _lines(setting: Setting, form: Format) -> list[str]:
    value = written(setting)
    match form:
        case Format.SYSCTL if setting.test is Test.ONE_OF:
            # any of several will do, so none is forced
            return [f"# {setting.name} = {value}"]
        case Format.SYSCTL:
            return [f"{setting.name} = {value}"]
        case Format.LIMITS:
            return [f"*  soft  {setting.name}  {value}", f"*  hard  {setting.name}  {value}"]
        case Format.SYSTEMD:
            return [f"{setting.name}={value}"]
        case Format.REDIS:
            return [f'{setting.name} "{value}"']
