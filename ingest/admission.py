"""May this tenant send this push, and what exactly stands on the wire if so? Pure: no clock, no chance, no IO.

``admit`` takes a batch and returns for each notification a Job that is ready to be stored, or a Refusal. What it
refuses is what Apple would refuse later, with a slower and shorter answer (Apple, *Sending notification requests
to APNs*). Push types are an open set, because Apple adds new ones: an unknown one passes through.

Whether a topic is allowed depends only on the topic and the push type, and whether it can be sent only on the topic
and the environment. A batch has few of them, so each is decided once a batch.
"""

import re
from binascii import Error as BinasciiError
from binascii import hexlify, unhexlify
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ingest.problems import Code
from shards.credential import Credential, choose
from shards.environment import Environment
from shards.job import Job
from shards.notification import Notification
from shards.problem import Refusal
from shards.push_types import NEWER, SUFFIXES
from shards.tenant import Tenant

PAYLOAD_BYTES_MOST: Final = 4096
VOIP_PAYLOAD_BYTES_MOST: Final = 5120
TOKEN_DIGITS_MOST: Final = 200
COLLAPSE_ID_BYTES_MOST: Final = 64
PRIORITIES: Final = (1, 5, 10)
TOPICS_SHOWN_MOST: Final = 5

BAD_TOKEN: Final = Refusal(
    Code.BAD_DEVICE_TOKEN,
    f"a device token is an even number of hexadecimal digits, 2 to {TOKEN_DIGITS_MOST}: "
    "write the bytes that the app got from Apple as plain hexadecimal, without spaces or <>",
    "/device_token",
)
NOT_AN_OBJECT: Final = Refusal(
    Code.BAD_PAYLOAD, 'the payload must be a JSON object such as {"aps": {"alert": "Hello"}}', "/payload"
)
EMPTY_PAYLOAD: Final = Refusal(
    Code.BAD_PAYLOAD, 'the payload is empty, which Apple refuses; write at least {"aps": {}}', "/payload"
)
PAYLOAD_TOO_DEEP: Final = Refusal(Code.BAD_PAYLOAD, "arrays or objects are nested too deeply", "/payload")
BAD_PUSH_TYPE: Final = Refusal(
    Code.BAD_PUSH_TYPE,
    f"a push type is 1 to 32 lower-case letters; Apple's are {', '.join(SUFFIXES)}",
    "/push_type",
)
BAD_PRIORITY: Final = Refusal(
    Code.BAD_PRIORITY,
    "write 10 (at once), 5 (when it suits the device's power) or 1 (never wakes the device), or leave it out",
    "/priority",
)
BACKGROUND_PRIORITY: Final = Refusal(
    Code.BAD_PRIORITY,
    "Apple refuses background pushes with priority 10; write 5, or leave it out and 5 is sent",
    "/priority",
)
EXPIRED: Final = Refusal(
    Code.BAD_EXPIRATION,
    "this time is over; write a later Unix time in seconds, or 0 for one attempt without storing",
    "/expiration",
)
BAD_COLLAPSE_ID: Final = Refusal(
    Code.BAD_COLLAPSE_ID,
    f"write 1 to {COLLAPSE_ID_BYTES_MOST} bytes of UTF-8 without control characters and without white space "
    "at either end, or leave it out",
    "/collapse_id",
)
NO_CREDENTIAL: Final = Refusal(
    Code.NO_CREDENTIAL,
    "this tenant has no credential yet, so nothing can be sent for it; add its .p8 key or its certificate first",
)

_PUSH_TYPE: Final = re.compile(r"[a-z]{1,32}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BACKGROUND: Final = "background"


def admit(
    notifications: Sequence[Notification | Refusal], tenant: Tenant, ids: Iterable[bytes], now_ms: int
) -> list[Job | Refusal]:
    """For each notification, in order, its job or why there is none; what is refused already stays refused.

    ``ids`` has one new id for each. ``now_ms`` is Unix time in milliseconds.
    """
    verdicts: list[Job | Refusal] = []
    kinds: dict[tuple[str, str, Environment], Refusal | None] = {}
    ways: dict[tuple[str, Environment], Refusal | None] = {}
    for notification, job_id in zip(notifications, ids, strict=True):
        if isinstance(notification, Refusal):
            verdicts.append(notification)
            continue
        topic = notification.topic
        push_type = notification.push_type
        environment = notification.environment
        kind = (topic, push_type, environment)
        if kind in kinds:
            refusal = kinds[kind]
        else:
            refusal = judge_topic(topic, push_type, tenant.topics)
            if refusal is None:
                way = (topic, environment)
                if way not in ways:
                    ways[way] = judge_way(topic, environment, tenant.credentials, now_ms)
                refusal = ways[way]
            kinds[kind] = refusal
        verdicts.append(refusal or _admit_one(notification, job_id, now_ms))
    return verdicts


def _admit_one(notification: Notification, job_id: bytes, now_ms: int) -> Job | Refusal:
    """Everything but the topic."""
    device_token = read_token(notification.device_token)
    if device_token is None:
        return BAD_TOKEN

    push_type = notification.push_type
    payload = bytes(notification.payload)
    # '{"' begins every object that has a member, unless white space stands between
    if not payload.startswith(b'{"'):
        if not payload.startswith(b"{"):
            return NOT_AN_OBJECT
        if not payload[1:-1].strip():
            return EMPTY_PAYLOAD
    if len(payload) > PAYLOAD_BYTES_MOST:
        most = VOIP_PAYLOAD_BYTES_MOST if push_type == "voip" else PAYLOAD_BYTES_MOST
        shortened = _shortened(payload, most)
        if shortened is None:
            return PAYLOAD_TOO_DEEP
        payload = shortened
        if len(payload) > most:
            return _payload_too_large(len(payload), most, push_type)

    priority = notification.priority
    if priority is None:
        # an absent priority means 10 to Apple, which is an error for background pushes
        priority = 5 if push_type == _BACKGROUND else 0
    elif priority not in PRIORITIES:
        return BAD_PRIORITY
    elif priority == 10 and push_type == _BACKGROUND:
        return BACKGROUND_PRIORITY

    expiration = notification.expiration
    if expiration is None:
        expiration = -1
    elif expiration and expiration * 1000 <= now_ms:
        return EXPIRED

    collapse_id = b""
    if notification.collapse_id is not None:
        collapse_id = notification.collapse_id.encode()
        if not _is_collapse_id(notification.collapse_id, collapse_id):
            return BAD_COLLAPSE_ID

    return Job(
        job_id,
        device_token,
        notification.topic,
        payload,
        notification.environment,
        push_type,
        priority,
        expiration,
        collapse_id,
        now_ms,
    )


def read_token(written: str) -> bytes | None:
    """A device token as lower-case hex; None for what is none."""
    try:
        device_token = hexlify(unhexlify(written))
    except (BinasciiError, ValueError):
        return None
    return device_token if 2 <= len(device_token) <= TOKEN_DIGITS_MOST else None


def judge_topic(topic: str, push_type: str, topics: Sequence[str]) -> Refusal | None:
    """Whether a tenant with these ``topics`` may send this push type to this topic; None if so."""
    if _PUSH_TYPE.fullmatch(push_type) is None:
        return BAD_PUSH_TYPE
    suffix = SUFFIXES.get(push_type)
    if suffix is None:
        return (
            None
            if topic in topics or topic.removesuffix(f"{NEWER}{push_type}") in topics
            else _foreign(topics)
        )
    if topic.endswith(suffix) and (topic in topics or topic.removesuffix(suffix) in topics):
        return None
    if topic in topics:
        return Refusal(
            Code.TOPIC_FOR_PUSH_TYPE,
            f'the topic of a {push_type} push ends in {suffix}; write "{topic}{suffix}"',
            "/topic",
        )
    for other_type, other_suffix in SUFFIXES.items():
        if other_suffix and topic.endswith(other_suffix) and topic.removesuffix(other_suffix) in topics:
            own = topic.removesuffix(other_suffix)
            return Refusal(
                Code.TOPIC_FOR_PUSH_TYPE,
                f"a topic that ends in {other_suffix} is for {other_type} pushes; "
                f'write "{own}{suffix}" for this {push_type} push, or "push_type": "{other_type}"',
                "/topic",
            )
    return _foreign(topics)


def judge_way(topic: str, environment: str, credentials: Sequence[Credential], now_ms: int) -> Refusal | None:
    """Whether one of a tenant's ``credentials`` can send to this topic there; None if so.

    What is taken in without one would wait in the queue only to die there.
    """
    if choose(credentials, environment, topic, now_ms) is not None:
        return None
    if not credentials:
        return NO_CREDENTIAL
    if not any(credential.serves(environment, now_ms) for credential in credentials):
        return Refusal(
            Code.NO_CREDENTIAL,
            f"this tenant has no credential for {environment} that is in use and not over; "
            f"add one, or push to an environment that it has one for",
            "/environment",
        )
    return Refusal(
        Code.NO_CREDENTIAL,
        f"none of this tenant's credentials for {environment} is good for this topic; add one that is",
        "/topic",
    )


def _foreign(topics: Sequence[str]) -> Refusal:
    if not topics:
        return Refusal(
            Code.TOPIC_NOT_ALLOWED, "this tenant has no topics; register the app's bundle id first", "/topic"
        )
    more = f" and {len(topics) - TOPICS_SHOWN_MOST} more" if len(topics) > TOPICS_SHOWN_MOST else ""
    return Refusal(
        Code.TOPIC_NOT_ALLOWED,
        f"this tenant may push to {', '.join(topics[:TOPICS_SHOWN_MOST])}{more}, "
        "each with Apple's suffix for the push type; write one of them, or register this one for the tenant",
        "/topic",
    )


def _shortened(payload: bytes, most: int) -> bytes | None:
    """The payload without formatting white space if that is what makes it too large; None if it is nested too deeply
    for that.

    ``msgspec.json.format`` leaves every number and escape as it was written; a decoder and an encoder would not
    (1e400, integers beyond 64 bits, members of the same name).
    """
    if len(payload) <= most:
        return payload
    try:
        return msgspec.json.format(payload, indent=-1)
    except RecursionError:
        # a few levels lie between what the decoder skips over and what can be formatted (msgspec 0.22, found by test)
        return None


def _payload_too_large(size: int, most: int, push_type: str) -> Refusal:
    return Refusal(
        Code.PAYLOAD_TOO_LARGE,
        f"the payload has {size} bytes without formatting, and Apple takes {most} for a push of type {push_type}; "
        "shorten it, or send a reference that the app looks up",
        "/payload",
    )


def _is_collapse_id(text: str, encoded: bytes) -> bool:
    return (
        0 < len(encoded) <= COLLAPSE_ID_BYTES_MOST and text == text.strip() and _CONTROL.search(text) is None
    )
