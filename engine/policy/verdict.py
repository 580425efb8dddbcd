"""What an outcome means for its job, its link and its tenant: one table, one function. Pure.

The reasons are Apple's (*Handling notification responses from APNs*), as an open set: one that is not in the table
is judged by its status. Spellings differ in the field, so reasons are compared without case and spaces.
"""

from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from engine.apns.outcomes import Certainty, Lost, Outcome, Refused


class Fate(StrEnum):
    """What happens to the job."""

    BURY = "bury"  # refused for good: settled, and kept among the dead with its reason
    WAIT = "wait"  # tried again later, with back-off
    RESEND = "resend"  # tried again at once: APNs never had it (and it was not sent again for that before)


class Verdict(NamedTuple):
    """``reason`` names it in dead letters and metrics; ``link_is_faulty``: the link takes no more pushes."""

    fate: Fate
    reason: str
    link_is_faulty: bool = False


_BURY: Final = (Fate.BURY, False)
_WAIT: Final = (Fate.WAIT, False)
_WAIT_ELSEWHERE: Final = (Fate.WAIT, True)

# reason → (fate, whether the link is faulty); reasons whose verdict is that of their status are left out
_REASONS: Final[dict[str, tuple[Fate, bool]]] = {
    "idletimeout": _WAIT_ELSEWHERE,  # 400: the connection was idle, the push is not at fault
    "expiredprovidertoken": _WAIT_ELSEWHERE,  # 403: after it every push on the connection fails
    "unrelatedkeyidintoken": _WAIT_ELSEWHERE,  # 403: Apple: "open a new connection"
    "toomanyprovidertokenupdates": _WAIT_ELSEWHERE,  # 429: the connection stays silent afterwards
    "toomanyrequests": _WAIT,  # 429: this device only
    "serviceunavailable": _WAIT_ELSEWHERE,  # 503
    "shutdown": _WAIT_ELSEWHERE,  # 503
}


def judge(outcome: Outcome, resent: bool = False) -> Verdict:
    """The verdict on anything but an accepted push.

    ``resent``: it was sent again at once before. A server that refuses every stream would otherwise be sent the
    same pushes as fast as the wire allows.
    """
    match outcome:
        case Refused(status, reason, _):
            named = _REASONS.get(reason.replace(" ", "").lower())
            fate, faulty = named or (_WAIT if status >= 500 or status == 429 else _BURY)
            return Verdict(fate, reason or f"Status{status}", faulty)
        case Lost(Certainty.NEVER_SENT, why):
            return Verdict(Fate.WAIT if resent else Fate.RESEND, why)
        case Lost(Certainty.IN_DOUBT, why):
            return Verdict(Fate.WAIT, why)
        case Lost():
            raise ValueError(f"no such certainty: {outcome.certainty}")
        case _:
            assert_never(outcome)
