"""The verdict on every reason that Apple lists, and on what it does not."""

import pytest

from engine.apns.outcomes import Certainty, Lost, Refused
from engine.policy.verdict import Fate, Verdict, judge

BURY, WAIT, RESEND = Fate.BURY, Fate.WAIT, Fate.RESEND

# status, reason, fate, whether the link is faulty: all of Apple's page on responses, in its order
LISTED = [
    (400, "BadCollapseId", BURY, False),
    (400, "BadDeviceToken", BURY, False),
    (400, "BadExpirationDate", BURY, False),
    (400, "BadMessageId", BURY, False),
    (400, "BadPriority", BURY, False),
    (400, "BadTopic", BURY, False),
    (400, "DeviceTokenNotForTopic", BURY, False),
    (400, "DuplicateHeaders", BURY, False),
    (400, "IdleTimeout", WAIT, True),
    (400, "InvalidPushType", BURY, False),
    (400, "MissingDeviceToken", BURY, False),
    (400, "MissingTopic", BURY, False),
    (400, "PayloadEmpty", BURY, False),
    (400, "TopicDisallowed", BURY, False),
    (403, "BadCertificate", BURY, False),
    (403, "BadCertificateEnvironment", BURY, False),
    (403, "ExpiredProviderToken", WAIT, True),
    (403, "Forbidden", BURY, False),
    (403, "InvalidProviderToken", BURY, False),
    (403, "MissingProviderToken", BURY, False),
    (403, "UnrelatedKeyIdInToken", WAIT, True),
    (403, "BadEnvironmentKeyIdInToken", BURY, False),
    (403, "BadEnvironmentKeyInToken", BURY, False),  # seen live, without the "Id"
    (404, "BadPath", BURY, False),
    (405, "MethodNotAllowed", BURY, False),
    (410, "ExpiredToken", BURY, False),
    (410, "Unregistered", BURY, False),
    (413, "PayloadTooLarge", BURY, False),
    (429, "TooManyProviderTokenUpdates", WAIT, True),
    (429, "TooManyRequests", WAIT, False),
    (500, "InternalServerError", WAIT, False),
    (503, "ServiceUnavailable", WAIT, True),
    (503, "Shutdown", WAIT, True),
]


@pytest.mark.parametrize(("status", "reason", "fate", "faulty"), LISTED)
def test_a_listed_reason(status: int, reason: str, fate: Fate, faulty: bool) -> None:
    assert judge(Refused(status, reason)) == Verdict(fate, reason, faulty)


@pytest.mark.parametrize(("status", "reason", "fate", "faulty"), LISTED)
def test_a_reason_is_known_in_every_spelling(status: int, reason: str, fate: Fate, faulty: bool) -> None:
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in reason)
    for spelling in (reason.upper(), reason.lower(), spaced, f" {reason} "):
        # named as it was spelled, so that a new spelling can be seen
        assert judge(Refused(status, spelling)) == Verdict(fate, spelling, faulty)


@pytest.mark.parametrize("reason", ["", "SomethingNew", "Service"])
@pytest.mark.parametrize(
    ("status", "fate"),
    [(400, BURY), (403, BURY), (404, BURY), (410, BURY), (418, BURY), (429, WAIT), (500, WAIT), (502, WAIT)]
    + [(503, WAIT), (504, WAIT), (599, WAIT), (204, BURY), (301, BURY)],
)
def test_an_unknown_reason_is_judged_by_its_status(status: int, reason: str, fate: Fate) -> None:
    assert judge(Refused(status, reason)) == Verdict(fate, reason or f"Status{status}", False)


def test_a_timestamp_changes_nothing() -> None:
    assert judge(Refused(410, "Unregistered", 1_700_000_000_000)) == judge(Refused(410, "Unregistered"))


@pytest.mark.parametrize(
    ("certainty", "resent", "fate"),
    [
        (Certainty.NEVER_SENT, False, RESEND),
        (Certainty.NEVER_SENT, True, WAIT),  # a server that refuses every stream is not asked without end
        (Certainty.IN_DOUBT, False, WAIT),
        (Certainty.IN_DOUBT, True, WAIT),
    ],
)
def test_a_lost_answer(certainty: Certainty, resent: bool, fate: Fate) -> None:
    assert judge(Lost(certainty, "goaway"), resent) == Verdict(fate, "goaway", False)


@pytest.mark.parametrize("resent", [False, True])
def test_an_answer_counts_the_same_for_a_push_that_was_sent_again(resent: bool) -> None:
    assert judge(Refused(410, "Unregistered"), resent).fate is BURY
    assert judge(Refused(503, "Shutdown"), resent).fate is WAIT


def test_a_certainty_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such certainty"):
        judge(Lost("perhaps", "x"))  # type: ignore[arg-type]
