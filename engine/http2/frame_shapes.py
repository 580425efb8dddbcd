"""Where each type of frame may stand and how long it is (RFC 9113, 6.1 to 6.10), checked before it is read.

    type            on stream    bytes
    DATA            its own      any
    HEADERS         its own      any
    PRIORITY        its own      5
    RST_STREAM      its own      4
    SETTINGS        0            multiple of 6; 0 when it is an acknowledgement
    PING            0            8
    GOAWAY          0            8 or more
    WINDOW_UPDATE   either       4
    CONTINUATION    its own      any

A PUSH_PROMISE is refused whatever its shape. Frames of other types have no shape that is known here. A wrong length
ends the connection also where the RFC would end the stream only (PRIORITY), as 5.4 allows: who gets that wrong gets
more wrong.
"""

from typing import Final

from h2.errors import ErrorCodes

from engine.http2 import frames
from engine.http2.faults import Violation

_BYTES: Final = {frames.PRIORITY: 5, frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}
_GOAWAY_LEAST: Final = 8
_SETTING_BYTES: Final = 6
_OF_CONNECTION: Final = frozenset({frames.SETTINGS, frames.PING, frames.GOAWAY})
_OF_STREAM: Final = frozenset(
    {frames.DATA, frames.HEADERS, frames.PRIORITY, frames.RST_STREAM, frames.CONTINUATION}
)
_NAMES: Final = {
    frames.DATA: "DATA",
    frames.HEADERS: "HEADERS",
    frames.PRIORITY: "PRIORITY",
    frames.RST_STREAM: "RST_STREAM",
    frames.SETTINGS: "SETTINGS",
    frames.PING: "PING",
    frames.GOAWAY: "GOAWAY",
    frames.WINDOW_UPDATE: "WINDOW_UPDATE",
    frames.CONTINUATION: "CONTINUATION",
}


def check(kind: int, flags: int, stream_id: int, length: int) -> None:
    """Raises Violation for a frame that stands on the wrong kind of stream or has a wrong length."""
    if kind not in _NAMES:
        return
    if stream_id and kind in _OF_CONNECTION:
        raise Violation(ErrorCodes.PROTOCOL_ERROR, f"{_NAMES[kind]} on stream {stream_id}")
    if not stream_id and kind in _OF_STREAM:
        raise Violation(ErrorCodes.PROTOCOL_ERROR, f"{_NAMES[kind]} on stream 0")
    match kind:
        case frames.SETTINGS:
            proper = length == 0 if flags & frames.ACK else length % _SETTING_BYTES == 0
        case frames.GOAWAY:
            proper = length >= _GOAWAY_LEAST
        case _:
            proper = _BYTES.get(kind, length) == length
    if not proper:
        raise Violation(ErrorCodes.FRAME_SIZE_ERROR, f"{_NAMES[kind]} of {length} bytes")
