"""What a check of a tenant's credentials tries, and in words what came of it. Pure.

One push is sent for a device that does not exist. APNs looks at who sends before it looks at the device, so the best
answer is that the device token is bad.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from engine.apns.outcomes import Lost, Outcome, Refused
from engine.policy.verdict import Fate, Scope, judge
from shards.credential import Credential, choose
from shards.environment import Environment
from shards.push_types import belongs
from shards.tenant import Tenant


class State(StrEnum):
    """``skipped``: it is not used, as somebody has decided, so it was not tried."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one credential in one environment.

    ``credential`` is its name, "" where there is none. ``reason`` is APNs' word, or one of ours: Accepted, Unreachable,
    NoAnswer, NoCredential, TopicUnknown, Expired, Disabled, Unusable. ``text`` is a sentence for a person.
    """

    credential: str
    environment: str
    topic: str
    state: State
    reason: str
    text: str


class Trial(NamedTuple):
    """A credential to try with a push for this topic."""

    credential: Credential
    environment: str
    topic: str

    def found(self, state: State, reason: str, text: str) -> Finding:
        return Finding(
            credential=self.credential.name,
            environment=self.environment,
            topic=self.topic,
            state=state,
            reason=reason,
            text=text,
        )


# -- what to try -------------------------------------------------------------------------------------------------


def plan(
    tenant: Tenant, environment: str | None, topic: str | None, now_ms: int
) -> Iterator[Trial | Finding]:
    """What to try, and what can be said at once.

    With a topic: the credential that would be taken for it. Without: each credential, with one of its topics.
    """
    places = [environment] if environment is not None else [each.value for each in Environment]
    found = (
        list(_of_topic(tenant, places, topic, now_ms))
        if topic is not None
        else [each for credential in tenant.credentials for each in _of(credential, tenant, places, now_ms)]
    )
    yield from found
    if not any(isinstance(each, Trial) for each in found):
        yield _nothing(tenant, places, topic, now_ms)


def _of_topic(tenant: Tenant, places: Iterable[str], topic: str, now_ms: int) -> Iterator[Trial]:
    if any(belongs(topic, each) for each in tenant.topics):
        for place in places:
            credential = choose(tenant.credentials, place, topic, now_ms)
            if credential is not None:
                yield Trial(credential, place, topic)


def _of(
    credential: Credential, tenant: Tenant, places: Iterable[str], now_ms: int
) -> Iterator[Trial | Finding]:
    topic = _topic_of(credential, tenant)
    for place in places:
        if place not in credential.environments:
            continue
        trial = Trial(credential, place, topic)
        if credential.disabled:
            yield trial.found(State.SKIPPED, "Disabled", "it is disabled, so nothing is sent with it")
        elif not credential.serves(place, now_ms):
            text = f"its time was over on {clock(credential.not_after_ms)}: nothing is sent with it"
            yield trial.found(State.BAD, "Expired", text)
        elif topic:
            yield trial


def _topic_of(credential: Credential, tenant: Tenant) -> str:
    """One that the credential is for and the tenant pushes to; "" if it has none."""
    both = (each for each in credential.topics if any(belongs(each, topic) for topic in tenant.topics))
    return next(chain(both, credential.topics, tenant.topics), "")


def _nothing(tenant: Tenant, places: list[str], topic: str | None, now_ms: int) -> Finding:
    """Why nothing can be tried."""
    reason, where = "NoCredential", " or ".join(places)
    if not tenant.topics:
        reason, text = "TopicUnknown", "the tenant has no application yet, so there is nothing to push to"
    elif topic is not None and not any(belongs(topic, each) for each in tenant.topics):
        known = ", ".join(tenant.topics)
        reason, text = "TopicUnknown", f"the tenant has no application {topic}; it has {known}"
    elif not tenant.credentials:
        text = "the tenant has no credential: pushes to it are refused, or wait"
    else:
        about = f"pushes to {topic}" if topic is not None else "pushes"
        each = "; ".join(_unfit(credential, places, now_ms) for credential in tenant.credentials)
        text = f"no credential is for {about} in {where}: {each}"
    place = places[0] if len(places) == 1 else ""
    return Finding(
        credential="", environment=place, topic=topic or "", state=State.BAD, reason=reason, text=text
    )


def _unfit(credential: Credential, places: Iterable[str], now_ms: int) -> str:
    name = credential.name
    if credential.disabled:
        return f"{name} is disabled"
    if not set(places) & set(credential.environments):
        return f"{name} is for {' and '.join(credential.environments)}"
    if credential.not_after_ms and now_ms >= credential.not_after_ms:
        return f"the time of {name} was over on {clock(credential.not_after_ms)}"
    return f"{name} is for {', '.join(credential.topics) or 'all topics'}"


# -- what came of it ---------------------------------------------------------------------------------------------

_MEANINGS: Final = {
    "InvalidProviderToken": (
        "APNs knows no such key: it is revoked, or it is not the one with key id {key_id}, or not of team {team_id}"
    ),
    "ExpiredProviderToken": "APNs finds a token too old that was signed a moment ago: {clock}",
    "BadEnvironmentKeyIdInToken": (
        "the key does not work in {environment}: make one at the Apple developer site that does, or say that this one "
        "is for the other environment only"
    ),
    "TopicDisallowed": (
        "this {kind} may not push to {topic}: the bundle id is another team's, or misspelt, or not among those that "
        "the {kind} was made for"
    ),
    "BadTopic": "APNs knows no topic {topic}: is the bundle id spelt right?",
    "TopicMismatch": "this {kind} is not for {topic}",
    "BadCertificate": (
        "APNs does not take the certificate: it is revoked, or too old, or not of Apple's; make a new one at the Apple "
        "developer site"
    ),
    "BadCertificateEnvironment": "the certificate is not for {environment}: make one that is",
    "Forbidden": "APNs refuses this {kind}: see at the Apple developer site whether it is still good",
    "TooManyProviderTokenUpdates": (
        "APNs has had too many different tokens of this key: something else signs a new one for each push, or in each "
        "process"
    ),
    "MissingProviderToken": (
        "APNs saw neither token nor certificate: something on the way opens TLS, and leaves them out"
    ),
}
# seen live without its "Id"
_ALIASES: Final = {"BadEnvironmentKeyInToken": "BadEnvironmentKeyIdInToken"}


def of_answer(trial: Trial, outcome: Outcome | None, clock_says: str) -> Finding:
    """The push was answered, or not. None: it was accepted. ``clock_says``: what is known about this machine's."""
    match outcome:
        case None:
            return trial.found(State.GOOD, "Accepted", "APNs takes its pushes")
        case Refused():
            return _of_refusal(trial, outcome, clock_says)
        case Lost(_, why):
            return trial.found(
                State.BAD, "NoAnswer", f"APNs was reached, and gave no answer ({why}): try again"
            )


def _of_refusal(trial: Trial, refused: Refused, clock_says: str) -> Finding:
    verdict = judge(refused, resent=True)
    if verdict.fate is Fate.BURY_TOKEN or verdict.scope is Scope.DEVICE:
        # APNs looked at the device, so it had nothing against the sender
        text = "APNs takes its pushes (it had nothing against this one but its device, which is made up)"
        return trial.found(State.GOOD, verdict.reason, text)
    text = of_reason(trial, refused.reason, clock_says)
    if not text and verdict.scope is Scope.APNS:
        text = f"APNs has trouble of its own ({refused.status} {refused.reason}): try again later"
    return trial.found(
        State.BAD, verdict.reason, text or f"APNs answers {refused.status} {refused.reason}".rstrip()
    )


def of_reason(trial: Trial, reason: str, clock_says: str) -> str:
    """What one of Apple's words means for whoever set the credential up; "" for a word that is not about that."""
    credential = trial.credential
    meaning = _MEANINGS.get(_ALIASES.get(reason, reason), "")
    return meaning.format(
        kind=credential.kind,
        key_id=credential.key_id,
        team_id=credential.team_id,
        environment=trial.environment,
        topic=trial.topic,
        clock=clock_says,
    )


_ADVICE: Final = {
    "resolve": "can names be looked up from here?",
    "connect": "is the way there open? Clarion connects directly, through no proxy",
    "tls": (
        "something on the way may open TLS in APNs' place; for a simulator, give its authority with --apns-ca-file"
    ),
    "settings": "something on the way may answer in APNs' place; or it has trouble of its own",
}


def of_failure(trial: Trial, phase: str, message: str, reason: str, ended: bool) -> Finding:
    """No connection: the facts of a DialError."""
    shown = trial.credential.kind == "certificate"
    if ended and shown and (meaning := of_reason(trial, reason, "")):
        return trial.found(State.BAD, reason, f"{meaning} ({message})")
    if ended and shown:
        text = f"APNs may not take the certificate, since it was shown before the end: {message}"
        return trial.found(State.BAD, "Unreachable", text)
    if phase == "certificate":
        return trial.found(State.BAD, "Unusable", message)
    return trial.found(State.BAD, "Unreachable", f"{message}: {_ADVICE[phase]}")


def clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
