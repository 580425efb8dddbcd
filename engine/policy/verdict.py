"""What an outcome means for its job, its device, its link and its tenant: one table, one function. Pure.

The reasons are Apple's (*Handling notification responses from APNs*), as an open set: one that is not in the table
is judged by its status. Spellings differ in the field ("BadEnvironmentKeyInToken" was seen without its "Id", and
"Service Unavailable" is printed with a space), so reasons are compared without case and spaces.
"""

from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from engine.apns.outcomes import Certainty, Lost, Outcome, Refused


class Fate(StrEnum):
    """What happens to the job."""

    BURY = "bury"  # refused for good: settled, and kept among the dead with its reason
    BURY_TOKEN = "bury_token"  # the same, and its device token is reported dead
    WAIT = "wait"  # tried again later, with back-off
    RESEND = "resend"  # tried again at once, on whatever link takes it
    HOLD = "hold"  # tried again when the pause of what the scope names is over


class Scope(StrEnum):
    """Whose fault it is, and so who has to wait or to go."""

    PUSH = "push"
    DEVICE = "device"  # APNs had too much for this device; the tenant goes on
    APNS = "apns"  # APNs has trouble, which this link need not share
    LINK = "link"  # the link takes no more pushes; another one will do
    TOPIC = "topic"  # the tenant must put something right, for this topic only
    CREDENTIAL = "credential"  # the tenant must put something right before anything can be sent for it


class Verdict(NamedTuple):
    """``reason`` names it in dead letters, conditions and metrics; Unix ms as Apple gave them, or None."""

    fate: Fate
    reason: str
    scope: Scope = Scope.PUSH
    status: int = 0
    timestamp_ms: int | None = None


_Row = tuple[Fate, Scope]

_BURY: Final[_Row] = (Fate.BURY, Scope.PUSH)
_TOKEN: Final[_Row] = (Fate.BURY_TOKEN, Scope.PUSH)
_DEVICE: Final[_Row] = (Fate.WAIT, Scope.DEVICE)
_APNS: Final[_Row] = (Fate.WAIT, Scope.APNS)
_LINK: Final[_Row] = (Fate.WAIT, Scope.LINK)
_ELSEWHERE: Final[_Row] = (Fate.RESEND, Scope.LINK)
_TOPIC: Final[_Row] = (Fate.HOLD, Scope.TOPIC)
_CREDENTIAL: Final[_Row] = (Fate.HOLD, Scope.CREDENTIAL)

# reason → (verdict, verdict when it was sent again at once before)
_REASONS: Final[dict[str, tuple[_Row, _Row]]] = {
    "badcollapseid": (_BURY, _BURY),
    "baddevicetoken": (_TOKEN, _TOKEN),
    "badexpirationdate": (_BURY, _BURY),
    "badmessageid": (_BURY, _BURY),
    "badpriority": (_BURY, _BURY),
    "badtopic": (_TOPIC, _TOPIC),
    "devicetokennotfortopic": (_TOKEN, _TOKEN),
    "duplicateheaders": (_BURY, _BURY),
    "idletimeout": (_LINK, _LINK),  # 400: the connection was idle, the push is not at fault
    "invalidpushtype": (_BURY, _BURY),
    "missingdevicetoken": (_BURY, _BURY),
    "missingtopic": (_BURY, _BURY),
    "payloadempty": (_BURY, _BURY),
    "topicdisallowed": (_TOPIC, _TOPIC),
    "topicmismatch": (_TOPIC, _TOPIC),  # 403
    "badcertificate": (_CREDENTIAL, _CREDENTIAL),
    "badcertificateenvironment": (_CREDENTIAL, _CREDENTIAL),
    "badenvironmentkeyidintoken": (_CREDENTIAL, _CREDENTIAL),
    "badenvironmentkeyintoken": (_CREDENTIAL, _CREDENTIAL),  # seen live
    "forbidden": (_CREDENTIAL, _CREDENTIAL),
    # after it every push on the connection fails, with the best of tokens
    "expiredprovidertoken": (_LINK, _LINK),
    # a connection that took another team for its own says so as well: only a fresh one shows that the key is bad
    "invalidprovidertoken": (_ELSEWHERE, _CREDENTIAL),
    "unrelatedkeyidintoken": (_LINK, _LINK),  # Apple: "open a new connection"
    "missingprovidertoken": (_BURY, _BURY),  # 403, and a fault of ours: no tenant can put it right
    "badpath": (_BURY, _BURY),
    "methodnotallowed": (_BURY, _BURY),
    "expiredtoken": (_TOKEN, _TOKEN),
    "unregistered": (_TOKEN, _TOKEN),
    "payloadtoolarge": (_BURY, _BURY),
    "toomanyprovidertokenupdates": (_LINK, _LINK),  # 429: the connection stays silent afterwards
    "toomanyrequests": (_DEVICE, _DEVICE),
    "internalservererror": (_APNS, _APNS),
    # one of them says nothing about its connection, and to dial anew for each would stop a gateway that gets a few;
    # many in a row are what `policy.health` replaces a link for
    "serviceunavailable": (_APNS, _APNS),
    "shutdown": (_LINK, _LINK),
}


def _row_of(reason: str) -> tuple[_Row, _Row] | None:
    return _REASONS.get(reason.replace(" ", "").lower())


def _by_status(status: int) -> _Row:
    """For a reason that nobody has heard of: what its status says, and nothing is lost by mistake."""
    match status:
        case 403:
            # "an error with the certificate or with the provider's authentication token"
            return _CREDENTIAL
        case 410:
            return _TOKEN
        case 429:
            return _DEVICE
        case _:
            return _APNS if status >= 500 else _BURY


def bars(reason: str) -> bool:
    """Whether APNs, which ended a connection with this word, refuses the credential that was shown on it."""
    rows = _row_of(reason)
    return rows is not None and rows[0][1] is Scope.CREDENTIAL


def condemns(verdict: Verdict, link_is_proved: bool) -> bool:
    """Whether the link takes no more pushes after this verdict on one of them.

    A link that begins with 5xx is not tried further: while APNs is unavailable little should be sent, at the pace at
    which links are dialled.
    """
    return verdict.scope is Scope.LINK or (verdict.scope is Scope.APNS and not link_is_proved)


def judge(outcome: Outcome, resent: bool = False, once_at_most: bool = False) -> Verdict:
    """The verdict on anything but an accepted push.

    ``resent``: it was sent again at once before. A server that refuses every stream would otherwise be sent the
    same pushes as fast as the wire allows. ``once_at_most``: the tenant wants none of its pushes to arrive twice.
    """
    match outcome:
        case Refused(status, reason, timestamp_ms):
            rows = _row_of(reason)
            fate, scope = rows[resent] if rows else _by_status(status)
            return Verdict(fate, reason or f"Status{status}", scope, status, timestamp_ms)
        case Lost(Certainty.NEVER_SENT, why):
            return Verdict(Fate.WAIT if resent else Fate.RESEND, why)
        case Lost(Certainty.IN_DOUBT, why):
            if once_at_most:
                return Verdict(Fate.BURY, f"InDoubt: {why}")
            return Verdict(Fate.WAIT, why)
        case Lost():
            raise ValueError(f"no such certainty: {outcome.certainty}")
        case _:
            assert_never(outcome)
