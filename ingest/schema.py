"""From the bytes of a body to Notifications, or to a campaign, or to refusals that say what to write instead. Pure.

A batch is decoded whole when all of it is well, which costs a quarter of a microsecond an item. Only when that
fails is it cut into raw items that are decoded one by one, so that a bad item never spoils its batch. That takes so
much longer that others must have their turn meanwhile: notifications and device tokens come in portions, of which
each is decoded when it is asked for. Whatever a body holds, what is done byte by byte is done in C, and the steps in
Python are as many as items may be.

The payload is a ``msgspec.Raw``, which the decoder skips over instead of reading. Skipping proves the grammar
(brackets, numbers, escapes, control characters), but not that strings are UTF-8 (msgspec 0.22, found by test), so
that is asked once for a whole body, and of each item only when the body fails.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from itertools import islice
from typing import Final, TypeVar

import msgspec

from ingest.faults import EXPECTED, NOT_UNICODE, Faults, is_utf8, without_escaped_backslashes
from ingest.problems import Code
from shards.notification import CampaignRequest, Notification
from shards.problem import Refusal

T = TypeVar("T")
V = TypeVar("V")
Decoded = Notification | Refusal

FIELDS: Final = Notification.__struct_fields__
CAMPAIGN_FIELDS: Final = CampaignRequest.__struct_fields__
# what an array of device tokens with very many commas may have of brackets: some in bad tokens
BRACKETS_MOST: Final = 1_000

EMPTY_BATCH: Final = Refusal(
    Code.BATCH_EMPTY,
    "send at least one notification, as a JSON array or with application/x-ndjson one a line",
)
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


_NO_SPACE: Final = re.compile(rb"\S")


class _TooMany(Exception):
    """Stops the counting decoder; never leaves this module."""


def decode_one(body: bytes) -> Decoded:
    """The notification in a body of one."""
    try:
        notification = _decode(body)
    except _UNSOUND as error:
        return Faults(FIELDS, NOT_AN_OBJECT).refusal(error, body)
    return notification if is_utf8(body) else NOT_UNICODE


def decode_array(body: bytes, most: int, at_once: int) -> Iterator[Sequence[Decoded]] | Refusal:
    """The items of a JSON array in order, each by itself, ``at_once`` of them at a time; a refusal when it is no array
    or has too many."""
    sound = is_utf8(body)
    if sound:
        with suppress(*_UNSOUND):
            notifications = _decode_list(body)
            return _sized(notifications, most) or _portions(notifications, at_once, list)
    try:
        items = _cut(body, most)
    except _UNSOUND as error:
        return Faults(FIELDS, NOT_AN_ARRAY).refusal(error, body)
    return _sized(items, most) or _decoded_apart(items, sound, at_once)


def decode_lines(body: bytes, most: int, at_once: int) -> Iterator[Sequence[Decoded]] | Refusal:
    """The lines of an NDJSON body in order, blank ones left out, ``at_once`` of them at a time; a refusal when there
    are too many."""
    lines = list(islice(_lines(body), most + 1))
    return _sized(lines, most) or _decoded_apart(lines, is_utf8(body), at_once)


def _portions(
    whole: Sequence[T], at_once: int, read: Callable[[Sequence[T]], Sequence[V]]
) -> Iterator[Sequence[V]]:
    return (read(whole[at : at + at_once]) for at in range(0, len(whole), at_once))


def _decoded_apart(pieces: Sequence[bytes], sound: bool, at_once: int) -> Iterator[Sequence[Decoded]]:
    """Each piece as a notification of its own. ``sound``: all of them are known to be UTF-8."""
    faults = Faults(FIELDS, NOT_AN_OBJECT)

    def decoded(some: Sequence[bytes]) -> Sequence[Decoded]:
        notifications: list[Decoded] = []
        for piece in some:
            try:
                notification = _decode(piece)
            except _UNSOUND as error:
                notifications.append(faults.refusal(error, piece))
            else:
                notifications.append(notification if sound or is_utf8(piece) else NOT_UNICODE)
        return notifications

    return _portions(pieces, at_once, decoded)


def decode_request(
    body: bytes, most: int, at_once: int
) -> tuple[CampaignRequest, Iterator[Sequence[str | Refusal]]] | Refusal:
    """A campaign and its device tokens in order, each by itself, ``at_once`` of them at a time; a refusal when all of
    it can't be used."""
    try:
        campaign = _decode_request(body)
    except _UNSOUND as error:
        return Faults(CAMPAIGN_FIELDS, NO_CAMPAIGN).refusal(error, body)
    if not is_utf8(body):
        return NOT_UNICODE
    array = bytes(campaign.device_tokens)
    if not array.startswith(b"["):
        return NO_TOKENS
    if array.count(b",") >= most:
        if array.count(b"[") + array.count(b"{") > BRACKETS_MOST:
            # they are no strings, and to count them would be to make all that is in them
            return NO_TOKENS
        if _has_more_items_than(most, array):
            return _too_many_devices(most)
    try:
        tokens = _decode_tokens(array)
    except msgspec.ValidationError:
        raws = list(enumerate(_decode_raws(array)))
        return campaign, _portions(raws, at_once, lambda some: [_one_token(*each) for each in some])
    if not tokens:
        return NO_DEVICES
    return campaign, _portions(tokens, at_once, list)


def _one_token(number: int, raw: msgspec.Raw) -> str | Refusal:
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
    lines = BytesIO(body)
    for line in lines:
        if not line.isspace():
            yield line
            continue
        text = _NO_SPACE.search(body, lines.tell())
        if text is None:
            return
        # over all other blank lines at once
        lines.seek(text.start())


def _sized(notifications: Sequence[object], most: int) -> Refusal | None:
    """Why a batch of so many is refused; None if it is not."""
    if not notifications:
        return EMPTY_BATCH
    return _too_many(most) if len(notifications) > most else None


def _too_many(most: int) -> Refusal:
    return Refusal(
        Code.BATCH_TOO_LARGE, f"a batch may have {most} notifications; send the rest in further ones"
    )


@lru_cache(maxsize=4)
def _cutter(most: int) -> Callable[[bytes], msgspec.Struct]:
    """Decodes the first items of an array raw, as the fields of a struct, and skips over those that follow.

    A list would take all of them, and millions such as ``1,1,1`` fit into a body: each would become an object of 60
    bytes.
    """
    fields = [(f"item_{number}", msgspec.Raw, None) for number in range(most)]
    return msgspec.json.Decoder(msgspec.defstruct("Cut", fields, array_like=True)).decode


def _cut(body: bytes, most: int) -> Sequence[bytes]:
    """The items of an array, undecoded, or the first ``most`` + 1 of them. Raises what msgspec raises."""
    # Skipping refuses half of a surrogate pair, which the grammar allows (RFC 8259, section 8.2) and which JavaScript
    # writes when it cuts an emoji in two. Where an item ends does not depend on it, so the items of the same body
    # without such escapes stand where those of this one do.
    even = without_escaped_backslashes(body).replace(rb"\ud", b"___").replace(rb"\uD", b"___")
    items: list[bytes] = []
    at = 0
    for raw in msgspec.structs.astuple(_cutter(most + 1)(even)):
        if raw is None:
            break
        item = bytes(raw)
        if even != body:
            at = even.index(item, at)
            item = body[at : at + len(item)]
            at += len(item)
        items.append(item)
    return items


def _has_more_items_than(most: int, body: bytes) -> bool:
    """Whether an array of UTF-8 has more than ``most`` items, found without keeping any."""
    seen = 0
    counted = _Counted()

    def count(_: type, __: object) -> _Counted:
        nonlocal seen
        seen += 1
        if seen > most:
            raise _TooMany
        return counted

    try:
        msgspec.json.Decoder(list[_Counted], dec_hook=count).decode(body)
    except _TooMany:
        return True
    except _UNSOUND:
        # malformed further on; then the array is cut no further than that
        return False
    return False


class _Counted:
    """Stands for an item that is only counted."""
