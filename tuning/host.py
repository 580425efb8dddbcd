"""What this host is set to, as far as this process may see it."""

import re
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tuning.profile import Kind, Setting

# files of the kernel's with several choices have the one that holds in brackets
_CHOSEN: Final = re.compile(r"\[(\S+)\]")


def found(
    settings: Iterable[Setting], ask_redis: Callable[[str], str | None] | None = None, root: Path = Path("/")
) -> dict[tuple[Kind, str], str]:
    """Values by kind and name; what can't be read is not among them. ``ask_redis`` gives a value by its name."""
    values: dict[tuple[Kind, str], str] = {}
    for setting in settings:
        match setting.kind:
            case Kind.SYSCTL:
                value = _read(root / "proc/sys" / setting.name.replace(".", "/"))
            case Kind.FILE:
                value = _read(root / setting.name.lstrip("/"))
            case Kind.LIMIT:
                value = _limit(setting.name)
            case Kind.REDIS:
                value = ask_redis(setting.name) if ask_redis is not None else None
            case Kind.SYSTEMD:
                value = None
        if value is not None:
            values[setting.kind, setting.name] = value
    return values


def _read(path: Path) -> str | None:
    try:
        text = " ".join(path.read_text().split())
    except OSError:
        return None
    chosen = _CHOSEN.search(text)
    return chosen[1] if chosen else text


def _limit(name: str) -> str | None:
    which = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if which is None:
        return None
    soft, _ = resource.getrlimit(which)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
