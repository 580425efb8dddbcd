"""The bytes of a request's body: what they claim to be, how many there may be, and unpacked if they are gzip.

A body has a deadline, or slow ones would hold connections without end. All that are arriving share a room, as what
waits for Redis does: the memory that they take is bounded, and one tenant's can't take all of it. And each has a limit,
which holds twice: for what arrives, and for what it unpacks to. We unpack here and not in aiohttp: aiohttp goes on
reading a body that was refused, so that the client gets its answer, and it would go on unpacking too, which lets a
megabyte of a gzip bomb cost seconds of CPU.
"""

import asyncio
import zlib
from functools import lru_cache
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from ingest.problems import Code
from ingest.room import Room
from shards.problem import Refusal

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_MEDIA_TYPES: Final = {JSON: JSON, NDJSON: NDJSON, "application/ndjson": NDJSON}
_UTF8: Final = ("utf-8", "utf8", "us-ascii")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
# what is left over is copied once a member, so their number is bounded or small ones would cost quadratic time
GZIP_MEMBERS_MOST: Final = 100

BROKEN_OFF: Final = Refusal(Code.BAD_REQUEST, "the body broke off, or its chunks are not valid")
NOT_GZIP: Final = Refusal(
    Code.BAD_COMPRESSION, "the body is not gzip, or was cut short; send it whole, or without Content-Encoding"
)
ENCODING_UNKNOWN: Final = Refusal(
    Code.CONTENT_ENCODING, "compress the body with Content-Encoding: gzip, or send it as it is"
)
TOO_MANY: Final = Refusal(
    Code.TOO_BUSY,
    "with this body, more bytes of this tenant's bodies would be arriving than is left for others; "
    "nothing was accepted, send it later",
)


@lru_cache(maxsize=256)
def media_type(content_type: str) -> str | None:
    """``JSON`` or ``NDJSON``, or None for what is neither or not in UTF-8."""
    name, *parameters = content_type.split(";")
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF8:
            return None
    return _MEDIA_TYPES.get(name.strip().lower())


async def read_body(
    request: web.BaseRequest, most: int, within_s: float, tenant: str, arriving: Room
) -> bytes | Refusal:
    """The body, unpacked, of at most ``most`` bytes.

    ``within_s``: the time that all of it has to arrive, however steadily it trickles. ``arriving``: room for the bytes
    of all tenants' bodies that are not yet whole.
    """
    headers = request.headers
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        return ENCODING_UNKNOWN
    length = headers.get("Content-Length")
    if length is not None and int(length) > most:
        return too_large(most)
    if headers.get("Expect", "").lower() == "100-continue":
        # only now: a request that is refused by its headers need not send its body (RFC 9110, section 10.1.1)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        if request.content.is_eof():
            # most are: the body of a push comes with its headers, and needs neither a timer nor a wait
            body = request.content.read_nowait()
            if len(body) > most:
                return too_large(most)
        else:
            async with asyncio.timeout(within_s):
                received = await _receive(request, most, tenant, arriving)
            if isinstance(received, Refusal):
                return received
            body = received
    except TimeoutError:
        return too_slow(within_s)
    except (RequestPayloadError, OSError):
        return BROKEN_OFF
    return body if encoding == "identity" else unpack(body, most)


async def _receive(request: web.BaseRequest, most: int, tenant: str, arriving: Room) -> bytes | Refusal:
    """The body as it comes; what has come of it takes room until it is whole or given up."""
    body = bytearray()
    try:
        while piece := await request.content.readany():
            if len(body) + len(piece) > most:
                return too_large(most)
            if not arriving.fits(tenant, len(piece)):
                return TOO_MANY
            arriving.take(tenant, len(piece))
            body += piece
        return bytes(body)
    finally:
        if body:
            arriving.give_back(tenant, len(body))


def unpack(packed: bytes, most: int) -> bytes | Refusal:
    """Gunzip, member after member (RFC 1952, section 2.2), and never more than ``most`` bytes of it."""
    unpacked = b""
    for _ in range(GZIP_MEMBERS_MOST):
        if not packed:
            return unpacked
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            # one byte more than allowed tells "just fits" from "too large"
            unpacked += member.decompress(packed, most + 1 - len(unpacked))
        except zlib.error:
            return NOT_GZIP
        if len(unpacked) > most:
            return too_large(most)
        if not member.eof:
            return NOT_GZIP
        packed = member.unused_data
    return NOT_GZIP if packed else unpacked


def too_slow(within_s: float) -> Refusal:
    return Refusal(
        Code.BODY_TOO_SLOW,
        f"a body has {within_s:g} s to arrive; nothing was accepted, send smaller batches, or compress them",
    )


def too_large(most: int) -> Refusal:
    return Refusal(
        Code.BODY_TOO_LARGE, f"a body may have {most} bytes, also after decompression; send smaller batches"
    )
