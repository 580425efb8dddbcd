"""The verdict on every reason that Apple lists, and on what it does not."""

import pytest

from engine.apns.outcomes import Certainty, Lost, Refused
from engine.policy.verdict import Fate, Scope, Verdict, condemns, judge

BURY, TOKEN, WAIT, RESEND, HOLD = Fate.BURY, Fate.BURY_TOKEN, Fate.WAIT, Fate.RESEND, Fate.HOLD
PUSH, DEVICE, APNS, LINK = Scope.PUSH, Scope.DEVICE, Scope.APNS, Scope.LINK
TOPIC, CREDENTIAL = Scope.TOPIC, Scope.CREDENTIAL

# status, reason, fate, scope: all of Apple's pages on responses, in their order
LISTED = [
    (400, "BadCollapseId", BURY, PUSH),
    (400, "BadDeviceToken", TOKEN, PUSH),
    (400, "BadExpirationDate", BURY, PUSH),
    (400, "BadMessageId", BURY, PUSH),
    (400, "BadPriority", BURY, PUSH),
    (400, "BadTopic", HOLD, TOPIC),
    (400, "DeviceTokenNotForTopic", TOKEN, PUSH),
    (400, "DuplicateHeaders", BURY, PUSH),
    (400, "IdleTimeout", WAIT, LINK),
    (400, "InvalidPushType", BURY, PUSH),
    (400, "MissingDeviceToken", BURY, PUSH),
    (400, "MissingTopic", BURY, PUSH),
    (400, "PayloadEmpty", BURY, PUSH),
    (400, "TopicDisallowed", HOLD, TOPIC),
    (403, "BadCertificate", HOLD, CREDENTIAL),
    (403, "BadCertificateEnvironment", HOLD, CREDENTIAL),
    (403, "ExpiredProviderToken", WAIT, LINK),
    (403, "Forbidden", HOLD, CREDENTIAL),
    (403, "InvalidProviderToken", RESEND, LINK),
    (403, "MissingProviderToken", BURY, PUSH),
    (403, "UnrelatedKeyIdInToken", WAIT, LINK),
    (403, "BadEnvironmentKeyIdInToken", HOLD, CREDENTIAL),
    (403, "BadEnvironmentKeyInToken", HOLD, CREDENTIAL),  # seen live, without the "Id"
    (404, "BadPath", BURY, PUSH),
    (405, "MethodNotAllowed", BURY, PUSH),
    (410, "ExpiredToken", TOKEN, PUSH),
    (410, "Unregistered", TOKEN, PUSH),
    (413, "PayloadTooLarge", BURY, PUSH),
    (429, "TooManyProviderTokenUpdates", WAIT, LINK),
    (429, "TooManyRequests", WAIT, DEVICE),
    (500, "InternalServerError", WAIT, APNS),
    (503, "ServiceUnavailable", WAIT, APNS),
    (503, "Service Unavailable", WAIT, APNS),  # as the page on broadcast errors prints it
    (503, "Shutdown", WAIT, LINK),
    # on broadcast channels, which this gateway does not send to: by their status
    (400, "FeatureNotEnabled", BURY, PUSH),
    (400, "MissingChannelId", BURY, PUSH),
    (400, "BadChannelId", BURY, PUSH),
    (400, "ChannelNotRegistered", BURY, PUSH),
    (400, "BadRequestParams", BURY, PUSH),
    (400, "BadRequestPayload", BURY, PUSH),
    (400, "MissingPushType", BURY, PUSH),
    (400, "CannotCreateChannelConfig", BURY, PUSH),
    (403, "TopicMismatch", HOLD, TOPIC),
]


@pytest.mark.parametrize(
    ("scope", "proved", "condemned"),
    [
        (LINK, True, True),
        (LINK, False, True),
        (APNS, True, False),
        (APNS, False, True),
        (DEVICE, False, False),
    ],
)
def test_a_link_is_condemned_for_its_own_faults_and_for_beginning_with_those_of_apns(
    scope: Scope, proved: bool, condemned: bool
) -> None:
    assert condemns(Verdict(WAIT, "x", scope), proved) is condemned


@pytest.mark.parametrize(("status", "reason", "fate", "scope"), LISTED)
def test_a_listed_reason(status: int, reason: str, fate: Fate, scope: Scope) -> None:
    assert judge(Refused(status, reason)) == Verdict(fate, reason, scope, status)


@pytest.mark.parametrize(("status", "reason", "fate", "scope"), LISTED)
def test_a_reason_is_known_in_every_spelling(status: int, reason: str, fate: Fate, scope: Scope) -> None:
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in reason)
    for spelling in (reason.upper(), reason.lower(), spaced, f" {reason} "):
        # named as it was spelled, so that a new spelling can be seen
        assert judge(Refused(status, spelling)) == Verdict(fate, spelling, scope, status)


@pytest.mark.parametrize(("status", "reason", "fate", "scope"), LISTED)
def test_a_second_try_at_once_changes_only_what_is_said_of_a_provider_token(
    status: int, reason: str, fate: Fate, scope: Scope
) -> None:
    again = judge(Refused(status, reason), resent=True)
    if reason == "InvalidProviderToken":
        # on a fresh link of its own it can't be another team's doing any more
        fate, scope = HOLD, CREDENTIAL
    assert (again.fate, again.scope) == (fate, scope)


@pytest.mark.parametrize("reason", ["", "SomethingNew", "Service"])
@pytest.mark.parametrize(
    ("status", "fate", "scope"),
    [(400, BURY, PUSH), (404, BURY, PUSH), (418, BURY, PUSH), (204, BURY, PUSH), (301, BURY, PUSH)]
    + [(403, HOLD, CREDENTIAL), (410, TOKEN, PUSH), (429, WAIT, DEVICE)]
    + [(status, WAIT, APNS) for status in (500, 502, 503, 504, 599)],
)
def test_an_unknown_reason_is_judged_by_its_status(
    status: int, reason: str, fate: Fate, scope: Scope
) -> None:
    verdict = Verdict(fate, reason or f"Status{status}", scope, status)
    assert judge(Refused(status, reason)) == judge(Refused(status, reason), resent=True) == verdict


def test_apples_timestamp_is_handed_on_and_changes_nothing_else() -> None:
    verdict = judge(Refused(410, "Unregistered", 1_700_000_000_000))
    assert verdict.timestamp_ms == 1_700_000_000_000
    assert verdict._replace(timestamp_ms=None) == judge(Refused(410, "Unregistered"))


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
    assert judge(Lost(certainty, "goaway"), resent) == Verdict(fate, "goaway")


@pytest.mark.parametrize("resent", [False, True])
def test_a_tenant_that_wants_nothing_twice_has_its_doubtful_pushes_buried(resent: bool) -> None:
    assert judge(Lost(Certainty.IN_DOUBT, "deadline"), resent, once_at_most=True) == Verdict(
        BURY, "InDoubt: deadline"
    )
    # what APNs never had is no doubt
    fate = WAIT if resent else RESEND
    assert judge(Lost(Certainty.NEVER_SENT, "goaway"), resent, once_at_most=True) == Verdict(fate, "goaway")
    assert judge(Refused(503, "Shutdown"), resent, once_at_most=True).fate is WAIT


@pytest.mark.parametrize("resent", [False, True])
def test_an_answer_counts_the_same_for_a_push_that_was_sent_again(resent: bool) -> None:
    assert judge(Refused(410, "Unregistered"), resent).fate is TOKEN
    assert judge(Refused(503, "Shutdown"), resent).fate is WAIT


def test_a_certainty_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such certainty"):
        judge(Lost("perhaps", "x"))  # type: ignore[arg-type]
