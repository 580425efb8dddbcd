"""Times as a person writes them: 2027-01-31, 2027-01-31T18:00+01:00, or 30d from now."""

import re
import time
from datetime import datetime
from typing import Final

from engine.cli.errors import CommandError

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_SPAN: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhdw])")


def span_s(option: str, text: str) -> float:
    """Seconds out of "90s", "15m", "12h", "30d", "2w". Raises CommandError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise CommandError(
            f"{option} can't be read: write a number with its unit, such as 90s, 15m, 12h or 30d"
        )
    return float(found[1]) * _UNITS_S[found[2]]


def moment_ms(option: str, text: str | None) -> int:
    """Unix ms out of a date, a date with a time (of this machine's zone if it names none), or a span from now.

    0 for None and "never". Raises CommandError.
    """
    if text is None or text == "never":
        return 0
    if _SPAN.fullmatch(text):
        return int((time.time() + span_s(option, text)) * 1000)
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise CommandError(
            f"{option} can't be read: write a date such as 2027-01-31, with a time if you like "
            "(2027-01-31T18:00+01:00), a time from now such as 30d, or never"
        ) from None


def clock(ms: int) -> str:
    """Unix ms for a person, in this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms / 1000)) if ms else "never"
