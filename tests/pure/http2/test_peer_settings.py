"""The peer's SETTINGS as limits: RFC 9113's first values, what each setting does, and which values it may not have."""

from __future__ import annotations

import pytest
from frame_factory import (
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    WINDOW,
    WINDOW_MOST,
    unhurried,
)
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st

from engine.http2.faults import Violation
from engine.http2.peer_settings import STREAMS_UNLIMITED, PeerSettings


def limits(peer: PeerSettings) -> tuple[int, int, int]:
    return peer.max_concurrent_streams, peer.initial_window_size, peer.max_frame_size


def test_before_any_settings_the_rfc_s_values_hold() -> None:
    peer = PeerSettings()
    assert limits(peer) == (STREAMS_UNLIMITED, WINDOW, 16_384)
    assert not peer.received


def test_an_empty_frame_is_settings_too() -> None:
    peer = PeerSettings()
    peer.apply([])
    assert limits(peer) == (STREAMS_UNLIMITED, WINDOW, 16_384)
    assert peer.received


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        (MAX_CONCURRENT_STREAMS, 0, (0, WINDOW, 16_384)),
        (MAX_CONCURRENT_STREAMS, 2**32 - 1, (2**32 - 1, WINDOW, 16_384)),
        (INITIAL_WINDOW_SIZE, 0, (STREAMS_UNLIMITED, 0, 16_384)),
        (INITIAL_WINDOW_SIZE, WINDOW_MOST, (STREAMS_UNLIMITED, WINDOW_MOST, 16_384)),
        (MAX_FRAME_SIZE, 16_384, (STREAMS_UNLIMITED, WINDOW, 16_384)),
        (MAX_FRAME_SIZE, 16_777_215, (STREAMS_UNLIMITED, WINDOW, 16_777_215)),
    ],
)
def test_a_setting_holds_from_its_frame_on(code: int, value: int, expected: tuple[int, int, int]) -> None:
    peer = PeerSettings()
    peer.apply([(code, value)])
    assert limits(peer) == expected


def test_a_later_value_replaces_an_earlier_one_also_within_a_frame() -> None:
    peer = PeerSettings()
    peer.apply([(MAX_CONCURRENT_STREAMS, 5), (MAX_FRAME_SIZE, 20_000), (MAX_CONCURRENT_STREAMS, 1)])
    peer.apply([(INITIAL_WINDOW_SIZE, 7)])
    assert limits(peer) == (1, 7, 20_000)


@given(
    st.sampled_from([0, HEADER_TABLE_SIZE, 6, 7, 8, 9, 16, 0x1A1A, 0xFFFF]),
    st.integers(0, 2**32 - 1),
)
@unhurried
def test_settings_that_are_not_limits_of_ours_change_nothing(code: int, value: int) -> None:
    peer = PeerSettings()
    peer.apply([(code, value)])
    assert limits(peer) == (STREAMS_UNLIMITED, WINDOW, 16_384)


def test_a_server_may_say_that_it_takes_no_push() -> None:
    peer = PeerSettings()
    peer.apply([(ENABLE_PUSH, 0)])
    assert peer.received


@pytest.mark.parametrize(
    ("code", "value", "error"),
    [
        (ENABLE_PUSH, 1, ErrorCodes.PROTOCOL_ERROR),
        (ENABLE_PUSH, 2, ErrorCodes.PROTOCOL_ERROR),
        (INITIAL_WINDOW_SIZE, 2**31, ErrorCodes.FLOW_CONTROL_ERROR),
        (INITIAL_WINDOW_SIZE, 2**32 - 1, ErrorCodes.FLOW_CONTROL_ERROR),
        (MAX_FRAME_SIZE, 0, ErrorCodes.PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 16_383, ErrorCodes.PROTOCOL_ERROR),
        (MAX_FRAME_SIZE, 2**24, ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_a_value_that_the_rfc_forbids_is_a_fault_with_its_code(
    code: int, value: int, error: ErrorCodes
) -> None:
    with pytest.raises(Violation) as caught:
        PeerSettings().apply([(MAX_CONCURRENT_STREAMS, 1), (code, value)])
    assert caught.value.code == error
