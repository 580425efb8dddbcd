"""HTTP/2 frames as bytes: RFC 9113, section 4.1 and 6. Pure.

     +-----------------------------------------------+
     |                 Length (24)                   |
     +---------------+---------------+---------------+
     |   Type (8)    |   Flags (8)   |
     +-+-------------+---------------+-------------------------------+
     |R|                 Stream Identifier (31)                      |
     +=+=============================================================+
     |                   Frame Payload (0...)                      ...

Length and type are packed as one 32-bit word, which makes the 9 bytes of a frame header one ``struct`` call.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Final

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

HEADER_BYTES: Final = 9
MAX_FRAME_SIZE_LEAST: Final = 16_384
MAX_FRAME_SIZE_MOST: Final = 16_777_215
STREAM_ID_MOST: Final = 2**31 - 1
WINDOW_MOST: Final = 2**31 - 1

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# (length << 8 | type, flags, stream id)
_HEADER: Final = Struct(">IBI")
pack_header: Final = _HEADER.pack
unpack_header: Final = _HEADER.unpack_from
_U32: Final = Struct(">I")
_SETTING: Final = Struct(">HI")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return pack_header(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(code, value) for code, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """(identifier, value) in order; the payload's length must be a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, _U32.pack(increment))


def reset(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, _U32.pack(code))


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, _U32.pack(last_stream_id) + _U32.pack(code) + debug)


def read_u32(payload: bytes, at: int = 0) -> int:
    value: int = _U32.unpack_from(payload, at)[0]
    return value
