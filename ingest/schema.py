"""From the bytes of a body to Notifications, or to a campaign, or to refusals that say what to write instead. Pure.

A batch is decoded whole when all of it is well, which costs a quarter of a microsecond an item. Only when that
fails is it cut into raw items that are decoded one by one, so that a bad item never spoils its batch.

The payload is a ``msgspec.Raw``, which the decoder skips over instead of reading. Skipping proves the grammar
(brackets, numbers, escapes, control characters), but not that strings are UTF-8 (msgspec 0.22, found by test), so
that is asked once for a whole body, and of each item only when the body fails.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from io import BytesIO
from typing import Final

import msgspec

from ingest.problems import Code
from shards.notification import CampaignRequest, Notification
from shards.problem import Refusal

Decoded = Notification | Refusal

FIELDS: Final = Notification.__struct_fields__
CAMPAIGN_FIELDS: Final = CampaignRequest.__struct_fields__

# What a value must be, for each field that has a type of its own.
EXPECTED: Final = {
    "device_token": "a string of hexadecimal digits, as the app got it from Apple",
    "device_tokens": "an array of such strings, one for each device",
    "topic": "a string: the app's bundle id, with Apple's suffix for the push type if that has one",
    "payload": 'a JSON object such as {"aps": {"alert": "Hello"}}',
    "lane": '"high" or "low"',
    "push_type": 'a string such as "alert" or "background"',
    "priority": "1, 5 or 10, or absent",
    "expiration": "Unix time in whole seconds, or 0 for one attempt without storing, or absent",
    "collapse_id": "a string of at most 64 bytes, or absent",
    "environment": '"production" or "sandbox"',
}

# What other gateways and Apple's own headers call our fields; spelling mistakes are found by likeness.
OTHER_NAMES: Final = {
    "token": "device_token",
    "tokens": "device_token",
    "device": "device_token",
    "registrationid": "device_token",
    "apnstopic": "topic",
    "bundleid": "topic",
    "app": "topic",
    "aps": "payload",
    "data": "payload",
    "body": "payload",
    "alert": "payload",
    "message": "payload",
    "notification": "payload",
    "type": "push_type",
    "apnspushtype": "push_type",
    "apnspriority": "priority",
    "ttl": "expiration",
    "expiry": "expiration",
    "expires": "expiration",
    "apnsexpiration": "expiration",
    "collapsekey": "collapse_id",
    "apnscollapseid": "collapse_id",
    "threadid": "collapse_id",
    "env": "environment",
    "sandbox": "environment",
    "development": "environment",
    "production": "environment",
    "queue": "lane",
    "urgency": "lane",
}

EMPTY_BODY: Final = Refusal(Code.EMPTY_BODY, "send the notification as a JSON object in the body")
EMPTY_BATCH: Final = Refusal(
    Code.BATCH_EMPTY,
    "send at least one notification, as a JSON array or with application/x-ndjson one a line",
)
NOT_UNICODE: Final = Refusal(
    Code.MALFORMED_JSON,
    "a text is not valid Unicode: JSON is sent as UTF-8, and a \\ud8.. escape needs its second half "
    "(was an emoji cut in two?)",
)
TOO_DEEP: Final = Refusal(Code.MALFORMED_JSON, "arrays or objects are nested too deeply")
NOT_AN_OBJECT: Final = Refusal(
    Code.WRONG_TYPE, "a notification must be a JSON object; a JSON array of them goes to /v1/push/batch"
)
NOT_AN_ARRAY: Final = Refusal(
    Code.WRONG_TYPE,
    "a batch must be a JSON array, or notifications one a line with Content-Type: application/x-ndjson; "
    "a single notification goes to /v1/push",
)

NO_DEVICES: Final = Refusal(Code.BATCH_EMPTY, "name at least one device", "/device_tokens")
NO_TOKENS: Final = Refusal(
    Code.WRONG_TYPE, f"device_tokens must be {EXPECTED['device_tokens']}", "/device_tokens"
)
NO_CAMPAIGN: Final = Refusal(
    Code.WRONG_TYPE, "a campaign must be a JSON object: one notification, with device_tokens for device_token"
)

_decode: Final = msgspec.json.Decoder(Notification).decode
_decode_request: Final = msgspec.json.Decoder(CampaignRequest).decode
_decode_tokens: Final = msgspec.json.Decoder(list[str]).decode
_decode_token: Final = msgspec.json.Decoder(str).decode
_decode_list: Final = msgspec.json.Decoder(list[Notification]).decode
_decode_raws: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode

_UNSOUND: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PLACE: Final = re.compile(r" - at `\$(?:\.(\w+))?.*`$", re.DOTALL)
_NAMED_FIELD: Final = re.compile(r"(missing required|contains unknown) field `(.*)`", re.DOTALL)
# Only a name that can't be a device token or a key is said back: short, and not all digits of hexadecimal.
_SAFE_NAME: Final = re.compile(r"(?![0-9a-fA-F]{9,}$)[A-Za-z][A-Za-z0-9_.-]{0,31}")
# Group 1 keeps what must stay: an escaped backslash, or both halves of a pair. The rest are halves by themselves.
_HALF_PAIRS: Final = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


class _TooMany(Exception):
    """Stops the counting decoder; never leaves this module."""


def decode_one(body: bytes) -> Decoded:
    """The notification in a body of one."""
    try:
        notification = _decode(body)
    except _UNSOUND as error:
        return _refusal(error, body, NOT_AN_OBJECT)
    return notification if _is_utf8(body) else NOT_UNICODE


def decode_array(body: bytes, most: int) -> Sequence[Decoded] | Refusal:
    """The items of a JSON array in order, each by itself; a refusal when it is no array or has too many."""
    notifications: Sequence[Decoded] | None = None
    if _is_utf8(body):
        with suppress(*_UNSOUND):
            notifications = _decode_list(body)
    if notifications is None:
        if _has_more_items_than(most, body):
            return _too_many(most)
        try:
            raws = _raws(body)
        except _UNSOUND as error:
            return _refusal(error, body, NOT_AN_ARRAY)
        notifications = [decode_one(bytes(raw)) for raw in raws]
    return _sized(notifications, most)


def decode_lines(body: bytes, most: int) -> Sequence[Decoded] | Refusal:
    """The lines of an NDJSON body in order, blank ones left out; a refusal when there are too many."""
    notifications: list[Decoded] = []
    sound = _is_utf8(body)
    for line in _lines(body):
        if len(notifications) == most:
            return _too_many(most)
        try:
            notification = _decode(line)
        except _UNSOUND as error:
            notifications.append(_refusal(error, line, NOT_AN_OBJECT))
        else:
            notifications.append(notification if sound or _is_utf8(line) else NOT_UNICODE)
    return _sized(notifications, most)


def decode_request(body: bytes, most: int) -> tuple[CampaignRequest, Sequence[str | Refusal]] | Refusal:
    """A campaign and its device tokens in order, each by itself; a refusal when all of it can't be used."""
    try:
        campaign = _decode_request(body)
    except _UNSOUND as error:
        return _refusal(error, body, NO_CAMPAIGN, CAMPAIGN_FIELDS)
    if not _is_utf8(body):
        return NOT_UNICODE
    array = bytes(campaign.device_tokens)
    if not array.startswith(b"["):
        return NO_TOKENS
    if _has_more_items_than(most, array):
        return _too_many_devices(most)
    tokens: Sequence[str | Refusal]
    try:
        tokens = _decode_tokens(array)
    except msgspec.ValidationError:
        tokens = [_one_token(number, bytes(raw)) for number, raw in enumerate(_decode_raws(array))]
    if not tokens:
        return NO_DEVICES
    return _too_many_devices(most) if len(tokens) > most else (campaign, tokens)


def _one_token(number: int, raw: bytes) -> str | Refusal:
    try:
        return _decode_token(raw)
    except msgspec.ValidationError:
        return Refusal(
            Code.WRONG_TYPE, f"a device token must be {EXPECTED['device_token']}", f"/device_tokens/{number}"
        )


def _too_many_devices(most: int) -> Refusal:
    return Refusal(
        Code.BATCH_TOO_LARGE,
        f"a campaign may have {most} devices; send it to the rest in further ones",
        "/device_tokens",
    )


def _lines(body: bytes) -> Iterator[bytes]:
    # a file's iterator, because split() makes a list of millions from a body of line ends
    return (line for line in BytesIO(body) if not line.isspace())


def _sized(notifications: Sequence[Decoded], most: int) -> Sequence[Decoded] | Refusal:
    if not notifications:
        return EMPTY_BATCH
    return _too_many(most) if len(notifications) > most else notifications


def _too_many(most: int) -> Refusal:
    return Refusal(
        Code.BATCH_TOO_LARGE, f"a batch may have {most} notifications; send the rest in further ones"
    )


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _raws(body: bytes) -> list[msgspec.Raw]:
    """The items of an array, undecoded. Raises what msgspec raises."""
    try:
        return _decode_raws(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Skipping refuses half of a surrogate pair, which the grammar allows (RFC 8259, section 8.2) and which
        # JavaScript writes when it cuts an emoji in two. Marked as a byte that is not UTF-8, it passes here and
        # spoils only its own item.
        marked = _HALF_PAIRS.sub(lambda match: match[1] or b"\xff", body)
        return _decode_raws(marked)


def _has_more_items_than(most: int, body: bytes) -> bool:
    """Whether an array has more than ``most`` items, found without keeping any.

    Millions of items such as ``1,1,1`` fit into a body, and each would become an object of 60 bytes.
    """
    if body.count(b",") < most:
        return False
    seen = 0
    counted = _Counted()

    def count(_: type, __: object) -> _Counted:
        nonlocal seen
        seen += 1
        if seen > most:
            raise _TooMany
        return counted

    try:
        msgspec.json.Decoder(list[_Counted], dec_hook=count).decode(body.decode("utf-8", "replace"))
    except _TooMany:
        return True
    except _UNSOUND:
        # malformed further on; then the array is cut no further than that
        return False
    return False


class _Counted:
    """Stands for an item that is only counted."""


def _refusal(
    error: Exception, body: bytes, not_a_container: Refusal, fields: tuple[str, ...] = FIELDS
) -> Refusal:
    """What one of msgspec's errors means for the tenant, who may write these fields. Its texts are parsed here and
    nowhere else."""
    if isinstance(error, RecursionError):
        return TOO_DEEP
    if isinstance(error, UnicodeDecodeError):
        return NOT_UNICODE
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        if not body.strip():
            return EMPTY_BODY
        if not _is_utf8(body) or any(match[1] is None for match in _HALF_PAIRS.finditer(body)):
            return NOT_UNICODE
        return Refusal(Code.MALFORMED_JSON, text[:1].lower() + text[1:])
    named = _NAMED_FIELD.search(text)
    if named is not None:
        return _missing(named[2]) if named[1] == "missing required" else _unknown(named[2], fields)
    place = _PLACE.search(text)
    field = place[1] if place is not None else None
    if field not in EXPECTED:
        return not_a_container
    code = Code.WRONG_TYPE if "got `" in text else Code.WRONG_VALUE
    return Refusal(code, f"{field} must be {EXPECTED[field]}", f"/{field}")


def _missing(field: str) -> Refusal:
    return Refusal(Code.FIELD_MISSING, f"add {field}: {EXPECTED[field]}", f"/{field}")


@lru_cache(maxsize=1024)
def _unknown(name: str, fields: tuple[str, ...]) -> Refusal:
    if _SAFE_NAME.fullmatch(name) is None:
        return Refusal(Code.FIELD_UNKNOWN, f"a field is not known; the fields are {', '.join(fields)}")
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    meant = OTHER_NAMES.get(plain)
    if meant is None:
        likely = {field.replace("_", ""): field for field in fields}
        close = get_close_matches(plain, likely, n=1, cutoff=0.7)
        meant = likely[close[0]] if close else None
    if meant == "device_token" and meant not in fields:
        meant = "device_tokens"
    advice = f"did you mean {meant}?" if meant else f"the fields are {', '.join(fields)}"
    return Refusal(Code.FIELD_UNKNOWN, f"there is no field {name}; {advice}", f"/{name}")
