"""The judge: one request to a device, one verdict, with Apple's reasons and statuses.

Pure: the time and the making of ids are arguments; what must outlive one request (the connection's
binding, the registry) is handed in.

The order. Apple does not publish which reason wins when several apply. What is known is that a push
without a token is refused with MissingProviderToken even when its device token is nonsense, so identity
is judged before anything that must be looked up. From that the order here is: the request line, the form
of the headers, identity, the payload's size, the topic's right, the device. Cheap and certain first.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from loadtest.simulator.bearer import Bearer
from loadtest.simulator.binding import Binding
from loadtest.simulator.registry import Device, Registry
from loadtest.simulator.vocabulary import (
    COLLAPSE_ID_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_BYTES_MAX_VOIP,
    PRIORITIES,
    STATUS,
    TOPIC_SUFFIX,
)

DEVICE_PATH = b"/3/device/"
# No length: Apple asks providers to make no assumption about the size of a device token.
_DEVICE_TOKEN = re.compile(rb"(?:[0-9a-fA-F]{2})+\Z")
_APNS_ID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_TOPIC = re.compile(rb"[A-Za-z0-9._-]{1,255}\Z")
_EXPIRATION = re.compile(rb"[0-9]{1,19}\Z")


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request as the wire brought it. `doubled` says that a header appeared twice."""

    headers: Mapping[bytes, bytes]
    doubled: bool
    body_bytes: int
    bearer: Bearer | None

    @property
    def device_token(self) -> bytes:
        """What follows `/3/device/` in the path; empty for other paths."""
        path = self.headers.get(b":path", b"")
        return path[len(DEVICE_PATH) :] if path.startswith(DEVICE_PATH) else b""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What to answer. `reason` is empty for 200; `timestamp_ms` comes with 410 only."""

    status: int
    reason: str = ""
    timestamp_ms: int | None = None

    def body(self) -> bytes:
        """Apple's JSON error body; empty when the push was accepted."""
        if not self.reason:
            return b""
        if self.timestamp_ms is None:
            return b'{"reason":"%s"}' % self.reason.encode()
        return b'{"reason":"%s","timestamp":%d}' % (self.reason.encode(), self.timestamp_ms)


ACCEPTED = Verdict(200)
REFUSED = {reason: Verdict(status, reason) for reason, status in STATUS.items()}


def apns_id(headers: Mapping[bytes, bytes], new_id: Callable[[], str]) -> str:
    """The caller's apns-id, as written; a new one if it is absent or no UUID."""
    given = headers.get(b"apns-id")
    return given.decode() if given is not None and _APNS_ID.match(given) else new_id()


def judge(request: Request, registry: Registry, binding: Binding, now_s: float) -> Verdict:
    """The verdict on this request at this time on a connection with this binding.

    Changes nothing but the binding, and that only through `Binding.refusal`.
    """
    headers = request.headers
    reason = (
        _request_line(headers)
        or ("DuplicateHeaders" if request.doubled else None)
        or _form(headers)
        or binding.refusal(request.bearer, now_s, registry.environment)
        or _payload(headers, request.body_bytes)
        or _topic(headers, binding)
    )
    if reason is not None:
        return REFUSED[reason]
    token = request.device_token
    if not _DEVICE_TOKEN.match(token):
        return REFUSED["BadDeviceToken"]
    if registry.has_devices:
        device = registry.device(token.lower())
        if device is not None:
            return _device(device, _named_topic(headers, binding) or b"", now_s)
    return ACCEPTED


def _request_line(headers: Mapping[bytes, bytes]) -> str | None:
    path = headers.get(b":path", b"")
    if headers.get(b":method") != b"POST":
        return "MethodNotAllowed"
    if not (path + b"/").startswith(DEVICE_PATH):
        return "BadPath"
    if len(path) <= len(DEVICE_PATH):
        return "MissingDeviceToken"
    return None


def _form(headers: Mapping[bytes, bytes]) -> str | None:
    get = headers.get
    given = get(b"apns-id")
    if given is not None and not _APNS_ID.match(given):
        return "BadMessageId"
    given = get(b"apns-expiration")
    if given is not None and not _EXPIRATION.match(given):
        return "BadExpirationDate"
    priority = get(b"apns-priority")
    if priority is not None and priority not in PRIORITIES:
        return "BadPriority"
    given = get(b"apns-collapse-id")
    if given is not None and len(given) > COLLAPSE_ID_BYTES_MAX:
        return "BadCollapseId"
    push_type = get(b"apns-push-type")
    # An absent push type is no error: Apple requires it for watchOS 6 and recommends it elsewhere.
    if push_type is not None:
        if push_type not in TOPIC_SUFFIX:
            return "InvalidPushType"
        # "Using priority 10 is an error", says Apple of background pushes, without naming the reason. An
        # absent priority means 10 too, but the page calls only the use of 10 an error.
        if push_type == b"background" and priority == b"10":
            return "BadPriority"
    return None


def _payload(headers: Mapping[bytes, bytes], body_bytes: int) -> str | None:
    if not body_bytes:
        return "PayloadEmpty"
    if body_bytes <= PAYLOAD_BYTES_MAX:
        return None
    return None if body_bytes <= PAYLOAD_BYTES_MAX_VOIP and _is_voip(headers) else "PayloadTooLarge"


def _is_voip(headers: Mapping[bytes, bytes]) -> bool:
    push_type = headers.get(b"apns-push-type")
    if push_type is None:
        return headers.get(b"apns-topic", b"").endswith(b".voip")
    return push_type == b"voip"


def _named_topic(headers: Mapping[bytes, bytes], binding: Binding) -> bytes | None:
    """With provider tokens the topic is required; a certificate stands in for it if it has one topic only."""
    default = None if binding.certificate is None else binding.certificate.only_topic
    return headers.get(b"apns-topic", default)


def _topic(headers: Mapping[bytes, bytes], binding: Binding) -> str | None:
    topic = _named_topic(headers, binding)
    if topic is None:
        return "MissingTopic"
    if not _TOPIC.match(topic):
        return "BadTopic"
    if topic not in binding.topics:
        return "TopicDisallowed"
    suffix = TOPIC_SUFFIX.get(headers.get(b"apns-push-type", b""))
    # A push type that asks for a suffix and a topic without it do not belong together. The reason is a
    # guess: Apple says no more than that a wrong topic is refused.
    return "BadTopic" if suffix and not topic.endswith(suffix.encode()) else None


def _device(device: Device, topic: bytes, now_s: float) -> Verdict:
    match device.fate:
        case "bad":
            return REFUSED["BadDeviceToken"]
        case "other_app":
            return ACCEPTED if topic.decode() in device.topics else REFUSED["DeviceTokenNotForTopic"]
        case "unregistered" | "expired":
            reason = "Unregistered" if device.fate == "unregistered" else "ExpiredToken"
            since_ms = int(now_s * 1000) if device.timestamp_ms is None else device.timestamp_ms
            return Verdict(410, reason, since_ms)
