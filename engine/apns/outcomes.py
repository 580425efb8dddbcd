"""What became of an attempt, as far as anyone can know.

An accepted push needs no value: a batch of them is a list. Everything else is a ``Refused`` (APNs answered) or a
``Lost`` (it did not), and a lost answer says which of two things it is: NEVER_SENT, and sending again can't repeat
it, or IN_DOUBT. That is decided here only, by ``stream_reset`` and the values at the end.
"""

import json
from enum import StrEnum
from typing import Final, NamedTuple

from h2.errors import ErrorCodes

REASON_MOST: Final = 64
# the year 5138 in Unix ms: numbers above it are no times
TIMESTAMP_MOST_MS: Final = 10**14


class Certainty(StrEnum):
    NEVER_SENT = "never_sent"
    IN_DOUBT = "in_doubt"


class Refused(NamedTuple):
    """APNs answered with an error. ``reason`` is Apple's word, or "" when the body had none; Unix ms."""

    status: int
    reason: str
    timestamp_ms: int | None = None


class Lost(NamedTuple):
    """No answer; ``why`` is a word for logs and metrics."""

    certainty: Certainty
    why: str


Outcome = Refused | Lost


def answered(status: int, body: bytes) -> Refused:
    """Read an error answer. Its body should be ``{"reason": …, "timestamp": ms}``, and need not be.

    Never raises: this runs in the middle of a batch of answers, and an exception here would lose all of them.
    """
    reason, timestamp_ms = "", None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        # the latter for a body of some thousand opening brackets
        document = None
    if isinstance(document, dict):
        word, at_ms = document.get("reason"), document.get("timestamp")
        # it goes on into logs, metrics and Redis: no control characters, and no lone surrogates, which have no UTF-8
        if isinstance(word, str) and word.isascii() and word.isprintable():
            reason = word[:REASON_MOST]
        # JSON as Python reads it has NaN and Infinity, which are in no range
        if isinstance(at_ms, int | float) and 0 <= at_ms <= TIMESTAMP_MOST_MS:
            timestamp_ms = int(at_ms)
    return Refused(status, reason, timestamp_ms)


def stream_reset(code: int) -> Lost:
    """RST_STREAM: only REFUSED_STREAM promises that nothing was processed (RFC 9113, 8.7)."""
    if code == ErrorCodes.REFUSED_STREAM:
        return Lost(Certainty.NEVER_SENT, "refused_stream")
    return Lost(Certainty.IN_DOUBT, "stream_reset")


# above the last stream id of a GOAWAY (RFC 9113, 6.8)
UNPROCESSED = Lost(Certainty.NEVER_SENT, "goaway")
# the bytes were handed to the kernel, and how far they came is unknown
DISCONNECTED = Lost(Certainty.IN_DOUBT, "disconnected")
OVERDUE = Lost(Certainty.IN_DOUBT, "deadline")
STREAM_FAULT = Lost(Certainty.IN_DOUBT, "stream_fault")
