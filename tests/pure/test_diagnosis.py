"""What a check tries, and its words for what came of it."""

from collections.abc import Iterable

import pytest

from engine.apns.outcomes import DISCONNECTED, Outcome, Refused
from engine.policy.diagnosis import Finding, State, Trial, of_answer, of_failure, plan
from shards.credential import Credential
from shards.tenant import Tenant

NOW_MS = 1_900_000_000_000
APP = "com.acme.app"


def key(name: str, **fields: object) -> Credential:
    return Credential(name, "TEAM000001", name, b"", **fields)  # type: ignore[arg-type]


def certificate(name: str, **fields: object) -> Credential:
    plain = {"kind": "certificate", "topics": (APP,), "environments": ("production",), **fields}
    return Credential(name, "TEAM000001", "", b"", **plain)  # type: ignore[arg-type]


def acme(*credentials: Credential, topics: tuple[str, ...] = (APP, "com.acme.mail")) -> Tenant:
    return Tenant("acme", topics, credentials)


def planned(
    tenant: Tenant, environment: str | None = None, topic: str | None = None
) -> list[tuple[str, str, str]]:
    """(credential, environment, topic or what is said at once) for each."""
    return [
        (each.credential, each.environment, each.reason)
        if isinstance(each, Finding)
        else (each.credential.name, each.environment, each.topic)
        for each in plan(tenant, environment, topic, NOW_MS)
    ]


# -- what is tried -----------------------------------------------------------------------------------------------


def test_each_credential_is_tried_once_in_each_of_its_environments_with_a_topic_of_the_tenants() -> None:
    tenant = acme(
        key("KEY0000001"),
        key("KEY0000002", environments=("sandbox",), topics=("com.acme.mail",)),
        certificate("calls", topics=("com.else.app", f"{APP}.voip")),
    )
    assert planned(tenant) == [
        ("KEY0000001", "production", APP),
        ("KEY0000001", "sandbox", APP),
        ("KEY0000002", "sandbox", "com.acme.mail"),
        ("calls", "production", f"{APP}.voip"),
    ]
    assert planned(tenant, "production") == [
        ("KEY0000001", "production", APP),
        ("calls", "production", f"{APP}.voip"),
    ]


def test_for_a_topic_only_that_credential_is_tried_which_would_be_taken() -> None:
    tenant = acme(key("OLD", created_ms=1), key("NEW", created_ms=2, environments=("production",)))
    assert planned(tenant, topic=f"{APP}.voip") == [
        ("NEW", "production", f"{APP}.voip"),
        ("OLD", "sandbox", f"{APP}.voip"),
    ]
    assert planned(tenant, "sandbox", APP) == [("OLD", "sandbox", APP)]


def test_what_is_not_used_is_said_and_not_tried() -> None:
    tenant = acme(
        key("DISABLED", disabled=True, environments=("production",)),
        key("OVER", not_after_ms=NOW_MS, environments=("production",)),
        key("SOON", not_after_ms=NOW_MS + 1, environments=("production",)),
    )
    assert planned(tenant) == [
        ("DISABLED", "production", "Disabled"),
        ("OVER", "production", "Expired"),
        ("SOON", "production", APP),
    ]
    states = [each.state for each in plan(tenant, None, None, NOW_MS) if isinstance(each, Finding)]
    assert states == [State.SKIPPED, State.BAD]


@pytest.mark.parametrize(
    ("tenant", "environment", "topic", "reason", "says"),
    [
        (acme(), None, None, "NoCredential", "the tenant has no credential"),
        (acme(key("K"), topics=()), None, None, "TopicUnknown", "the tenant has no application yet"),
        (acme(key("K")), None, "com.acme", "TopicUnknown", f"no application com.acme; it has {APP}, com.acme.mail"),
        (acme(key("K")), None, "com.acme.apps", "TopicUnknown", "no application com.acme.apps"),
        (
            acme(certificate("c"), key("K", disabled=True)),
            "sandbox",
            None,
            "NoCredential",
            "no credential is for pushes in sandbox: c is for production; K is disabled",
        ),
        (
            acme(certificate("c"), key("K", not_after_ms=NOW_MS)),
            None,
            "com.acme.mail",
            "NoCredential",
            "no credential is for pushes to com.acme.mail in production or sandbox: "
            f"c is for {APP}; the time of K was over on 2030-03-17 17:46 UTC",
        ),
    ],
)  # fmt: skip
def test_where_there_is_nothing_to_try_the_reason_is_told(
    tenant: Tenant, environment: str | None, topic: str | None, reason: str, says: str
) -> None:
    *_, finding = plan(tenant, environment, topic, NOW_MS)
    assert isinstance(finding, Finding)
    assert (finding.state, finding.reason) == (State.BAD, reason)
    assert says in finding.text


def test_a_disabled_credential_alone_is_not_called_good() -> None:
    states = [each.state for each in plan(acme(key("K", disabled=True)), None, None, NOW_MS)]  # type: ignore[union-attr]
    assert states == [State.SKIPPED, State.SKIPPED, State.BAD]


# -- what came of it ---------------------------------------------------------------------------------------------

KEY_TRIAL = Trial(key("KEY0000001"), "sandbox", APP)
CERTIFICATE_TRIAL = Trial(certificate("push"), "sandbox", APP)


def said(outcome: Outcome | None, trial: Trial = KEY_TRIAL) -> Finding:
    return of_answer(trial, outcome, "the clock is slow")


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        Refused(400, "BadDeviceToken"),
        Refused(400, "DeviceTokenNotForTopic"),
        Refused(410, "Unregistered", 1),
        Refused(410, "ExpiredToken", 1),
        Refused(429, "TooManyRequests"),
        # by its status alone, as a push would be judged
        Refused(410, "DeviceIsGone", 1),
    ],
)
def test_what_apns_says_of_a_device_is_good_news_of_the_credential(outcome: Outcome | None) -> None:
    found = said(outcome)
    assert found.state is State.GOOD and "APNs takes its pushes" in found.text
    assert (found.credential, found.environment, found.topic) == ("KEY0000001", "sandbox", APP)


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        (403, "InvalidProviderToken", ["revoked", "key id KEY0000001", "team TEAM000001"]),
        (403, "ExpiredProviderToken", ["the clock is slow"]),
        (403, "BadEnvironmentKeyIdInToken", ["does not work in sandbox"]),
        (403, "BadEnvironmentKeyInToken", ["does not work in sandbox"]),
        (400, "TopicDisallowed", [f"this key may not push to {APP}"]),
        (400, "BadTopic", [f"no topic {APP}"]),
        (403, "Forbidden", ["refuses this key"]),
        (403, "MissingProviderToken", ["something on the way opens TLS"]),
        (429, "TooManyProviderTokenUpdates", ["something else signs"]),
        (503, "ServiceUnavailable", ["trouble of its own (503 ServiceUnavailable)"]),
        (500, "", ["trouble of its own"]),
        (403, "NewReason", ["APNs answers 403 NewReason"]),
        (400, "", ["APNs answers 400"]),
    ],
)
def test_what_apns_says_of_the_sender_is_told_as_what_to_do(
    status: int, reason: str, says: Iterable[str]
) -> None:
    found = said(Refused(status, reason))
    assert found.state is State.BAD
    assert all(each in found.text for each in says) and "{" not in found.text
    assert found.reason == (reason or f"Status{status}")


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("BadCertificateEnvironment", "the certificate is not for sandbox"),
        ("BadCertificate", "revoked"),
        ("TopicDisallowed", f"this certificate may not push to {APP}"),
    ],
)
def test_a_certificate_is_called_one(reason: str, says: str) -> None:
    assert says in said(Refused(403, reason), CERTIFICATE_TRIAL).text


def test_an_answer_that_never_came_is_no_verdict_on_the_credential() -> None:
    found = said(DISCONNECTED)
    assert (found.state, found.reason) == (State.BAD, "NoAnswer")
    assert "gave no answer (disconnected)" in found.text


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        ("resolve", "can names be looked up"),
        ("connect", "through no proxy"),
        ("tls", "--apns-ca-file"),
        ("settings", "in APNs' place"),
    ],
)
def test_each_step_of_a_connection_that_fails_has_its_advice(phase: str, says: str) -> None:
    for ended in (False, True):
        found = of_failure(KEY_TRIAL, phase, "no way", "", ended)
        assert found.text.startswith("no way: ") and says in found.text
        assert (found.state, found.reason) == (State.BAD, "Unreachable")


def test_an_end_in_the_handshake_is_laid_to_the_certificate_that_was_shown() -> None:
    named = of_failure(CERTIFICATE_TRIAL, "tls", "ALERT_REVOKED", "BadCertificate", True)
    assert named.reason == "BadCertificate" and "revoked" in named.text and "(ALERT_REVOKED)" in named.text
    silent = of_failure(CERTIFICATE_TRIAL, "settings", "hung up", "", True)
    assert silent.reason == "Unreachable" and "may not take the certificate" in silent.text
    # who shows none can't be refused for it
    assert "--apns-ca-file" in of_failure(KEY_TRIAL, "tls", "ALERT", "BadCertificate", True).text
    unshown = of_failure(CERTIFICATE_TRIAL, "certificate", "TLS can't show it", "", False)
    assert (unshown.reason, unshown.text) == ("Unusable", "TLS can't show it")
