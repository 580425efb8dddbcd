"""Where frames may stand and how long they are: the table of RFC 9113, 6.1 to 6.10, spelled a second time."""

from __future__ import annotations

import pytest
from frame_factory import (
    ACK,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from h2.errors import ErrorCodes

from engine.http2 import frame_shapes
from engine.http2.faults import Violation

# type → the streams and the lengths, from 0 to 20, that it may have
PROPER = {
    DATA: ({1}, set(range(21))),
    HEADERS: ({1}, set(range(21))),
    PRIORITY: ({1}, {5}),
    RST_STREAM: ({1}, {4}),
    SETTINGS: ({0}, {0, 6, 12, 18}),
    PING: ({0}, {8}),
    GOAWAY: ({0}, set(range(8, 21))),
    WINDOW_UPDATE: ({0, 1}, {4}),
    CONTINUATION: ({1}, set(range(21))),
    0x5: ({0, 1}, set(range(21))),
    0xA: ({0, 1}, set(range(21))),
    0xFF: ({0, 1}, set(range(21))),
}


def code_of(kind: int, flags: int, stream_id: int, length: int) -> ErrorCodes | None:
    try:
        frame_shapes.check(kind, flags, stream_id, length)
    except Violation as violation:
        return violation.code
    return None


@pytest.mark.parametrize("kind", PROPER)
@pytest.mark.parametrize("stream_id", [0, 1])
def test_a_frame_of_a_wrong_length_or_on_a_wrong_stream_has_the_rfc_s_code(kind: int, stream_id: int) -> None:
    streams, lengths = PROPER[kind]
    for length in range(21):
        expected = None
        if stream_id not in streams:
            expected = ErrorCodes.PROTOCOL_ERROR
        elif length not in lengths:
            expected = ErrorCodes.FRAME_SIZE_ERROR
        assert code_of(kind, 0, stream_id, length) == expected


def test_an_acknowledgement_of_settings_is_empty() -> None:
    assert code_of(SETTINGS, ACK, 0, 0) is None
    assert code_of(SETTINGS, ACK, 0, 6) == ErrorCodes.FRAME_SIZE_ERROR


def test_the_reason_names_the_frame() -> None:
    with pytest.raises(Violation, match="PING of 7 bytes"):
        frame_shapes.check(PING, 0, 0, 7)
    with pytest.raises(Violation, match="DATA on stream 0"):
        frame_shapes.check(DATA, 0, 0, 7)
