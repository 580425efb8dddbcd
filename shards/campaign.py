"""Campaigns: pushes that differ in nothing but the device, stored as one record and a short element for each of them.

An element stands where a job would: it is one push, and every script moves it as one. It begins with a byte that no
msgpack value begins with, so whoever reads the queues tells the two apart:

    0xc1 | the push's apns-id, 16 bytes | the device token, as bytes

The campaign's id is what the apns-ids of its pushes begin with. They are UUIDs of version 7 whose last 24 bits count
(RFC 9562, section 6.2, allows a counter there), so the rest of the id, 48 bits of time and 50 of chance, names the
campaign. It need not stand in the element a second time, and the text of an id is made from two pieces.

What is written back by a worker is an ordinary job, so elements stand in ready lists, in claims, and now and then in
the waiting set; a shard forgets the record with the last of them.
"""

from binascii import hexlify
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from shards.job import Job, new_ids

MARK: Final = b"\xc1"
# the byte that marks it, and so many of the apns-id
ID_BYTES: Final = 13
_NUMBER_BYTES: Final = 3
# as many pushes as can be told apart
PUSHES_MOST: Final = 1 << 8 * _NUMBER_BYTES
_TOKEN_AT: Final = 1 + ID_BYTES + _NUMBER_BYTES
_STAMP: Final = slice(1, 7)

campaign_of: Final[Callable[[bytes], bytes]] = itemgetter(slice(1, 1 + ID_BYTES))
# the same for all elements of a campaign: the mark and the id
head_of: Final[Callable[[bytes], bytes]] = itemgetter(slice(0, 1 + ID_BYTES))


class Campaign(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the pushes of a campaign have in common: a job's fields from its third on, in the same order.

    So the bytes of a record, behind those of an id and a token, are the bytes of a job: a script that has to write a
    job of its own need not know what is in it. It grows like a job, at its end.
    """

    topic: str
    payload: bytes
    environment: str = "production"
    push_type: str = "alert"
    priority: int = 0
    expiration: int = -1
    collapse_id: bytes = b""
    admitted_ms: int = 0


class Portion(NamedTuple):
    """A campaign's id and its record as it is stored, with the number of its pushes that come along."""

    id: bytes
    record: bytes
    pushes: int


encode_campaign: Final = msgspec.msgpack.Encoder().encode
decode_campaign: Final = msgspec.msgpack.Decoder(Campaign).decode


def new_campaign_id(now_ms: int, randomness: bytes) -> bytes:
    """A new id, of 10 bytes of ``randomness``."""
    [text] = new_ids(now_ms, randomness)
    return bytes.fromhex(text.decode().replace("-", ""))[:ID_BYTES]


def element(campaign_id: bytes, number: int, device_token: bytes) -> bytes:
    """The push to one device. ``number``: which of the campaign's, from 0; ``device_token``: its bytes, not hex."""
    return MARK + campaign_id + number.to_bytes(_NUMBER_BYTES) + device_token


def is_element(stored: bytes) -> bool:
    """Whether this is an element, and not a job."""
    return stored.startswith(MARK)


def common_of(job: Job) -> Campaign:
    """What a push has in common with others."""
    return Campaign(*(getattr(job, name) for name in Campaign.__struct_fields__))


def apns_id_of(stored: bytes) -> bytes:
    """The apns-id of an element: canonical UUID text."""
    digits = hexlify(stored[1:_TOKEN_AT])
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def admitted_ms_of(stored: bytes) -> int:
    """When an element was admitted, Unix milliseconds: the time in its id."""
    return int.from_bytes(stored[_STAMP])


def expand(elements: Sequence[bytes], campaign: Campaign) -> list[Job]:
    """The jobs of elements of one campaign, in order; there must be one at least."""
    # the text of an id: 30 bytes of the campaign's own, and six digits that count
    own = apns_id_of(elements[0])[: -2 * _NUMBER_BYTES]
    number = slice(2 * (1 + ID_BYTES), 2 * _TOKEN_AT)
    token = slice(2 * _TOKEN_AT, None)
    topic, payload, environment, push_type, priority, expiration, collapse_id, admitted_ms = (
        msgspec.structs.astuple(campaign)
    )
    return [
        Job(
            own + digits[number],
            digits[token],
            topic,
            payload,
            environment,
            push_type,
            priority,
            expiration,
            collapse_id,
            admitted_ms,
        )
        for digits in map(hexlify, elements)
    ]
