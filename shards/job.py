"""The stored envelope of one push, and the ids that name it.

A job is written once by ingest and copied as it is from list to list, so its fields are the bytes that will
stand on the wire: a worker decodes the envelope and copies, it does not convert. The tenant and the lane are not
in it, because the list that holds the job already says both.

Drawer rule: the Struct is array-like and only ever grows at its end, with defaults, so that two versions can run
side by side during a rolling restart.
"""

from collections.abc import Iterator
from typing import Final

import msgspec


class Job(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One push, ready for the wire.

    ``id`` is the apns-id: canonical lower-case UUID text, the same on every attempt. ``device_token`` is lower-case
    hex. ``priority`` 0 and ``expiration`` -1 mean that the tenant gave none. ``admitted_ms`` is wall-clock time,
    Unix milliseconds. ``attempts`` counts the attempts that ended without a final verdict.
    """

    id: bytes
    device_token: bytes
    topic: str
    payload: bytes
    environment: str = "production"
    push_type: str = "alert"
    priority: int = 0
    expiration: int = -1
    collapse_id: bytes = b""
    admitted_ms: int = 0
    attempts: int = 0


encode_job: Final = msgspec.msgpack.Encoder().encode
decode_job: Final = msgspec.msgpack.Decoder(Job).decode


def new_ids(now_ms: int, randomness: bytes) -> Iterator[bytes]:
    """UUID version 7 texts (RFC 9562, section 5.7), one for each 10 bytes of ``randomness``.

    Time-ordered ids let a tenant sort its pushes by id and keep them in one part of an index. Of each 80 random
    bits 74 are used: 12 after the version and 62 after the variant.
    """
    stamp = f"{now_ms & 0xFFFFFFFFFFFF:012x}"
    head = f"{stamp[:8]}-{stamp[8:]}-7"
    digits = randomness.hex()
    for at in range(0, len(digits) - 19, 20):
        variant = "89ab"[int(digits[at + 3], 16) & 3]
        yield (
            f"{head}{digits[at : at + 3]}-{variant}{digits[at + 4 : at + 7]}-{digits[at + 7 : at + 19]}"
        ).encode()
