"""What became of an attempt, as far as anyone can know.

An accepted push needs no value: a batch of them is a list. Everything else is a ``Refused`` (APNs answered) or a
``Lost`` (it did not), and a lost answer says which of two things it is: NEVER_SENT, and sending again can't repeat
it, or IN_DOUBT. ``certainty`` functions are the only place where that is decided.
"""

import json
from enum import StrEnum
from typing import NamedTuple

from h2.errors import ErrorCodes


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
    """Read an error answer. Its body should be ``{"reason": …, "timestamp": ms}``, and need not be."""
    reason, timestamp_ms = "", None
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        if isinstance(document.get("reason"), str):
            reason = document["reason"][:64]
        if isinstance(document.get("timestamp"), int | float):
            timestamp_ms = int(document["timestamp"])
    return Refused(status, reason, timestamp_ms)


def stream_reset(code: int) -> Lost:
    """RST_STREAM: only REFUSED_STREAM promises that nothing was processed (RFC 9113, 8.7)."""
    if code == ErrorCodes.REFUSED_STREAM:
        return Lost(Certainty.NEVER_SENT, "refused_stream")
    return Lost(Certainty.IN_DOUBT, "stream_reset")


# above the last stream id of a GOAWAY (RFC 9113, 6.8), or never given to a connection
UNPROCESSED = Lost(Certainty.NEVER_SENT, "goaway")
UNSENT = Lost(Certainty.NEVER_SENT, "unsent")
# the bytes were handed to the kernel, and how far they came is unknown
DISCONNECTED = Lost(Certainty.IN_DOUBT, "disconnected")
OVERDUE = Lost(Certainty.IN_DOUBT, "deadline")
STREAM_FAULT = Lost(Certainty.IN_DOUBT, "stream_fault")
