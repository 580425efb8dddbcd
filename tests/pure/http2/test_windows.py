"""Flow control by itself: arithmetic, limits and the step in which the receive window is returned."""

from __future__ import annotations

import pytest
from frame_factory import WINDOW, WINDOW_MOST, unhurried
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st

from engine.http2.faults import StreamViolation, Violation
from engine.http2.windows import ReceiveWindow, SendWindows


def windows(*streams: int) -> SendWindows:
    made = SendWindows()
    for stream_id in streams:
        made.open(stream_id)
    return made


def test_a_body_spends_both_windows_and_the_smaller_one_is_the_room() -> None:
    sent = windows(1, 3)
    sent.spend(1, 65_000)
    assert (sent.connection, sent.room(1), sent.room(3)) == (535, 535, 535)
    sent.grow(0, 10_000)
    assert (sent.room(1), sent.room(3)) == (535, 10_535)
    sent.grow(1, 1)
    assert sent.room(1) == 536


def test_a_new_initial_window_moves_every_stream_below_zero_if_need_be() -> None:
    sent = windows(1, 3)
    sent.spend(1, 1_000)
    sent.resize(0)
    assert (sent.room(1), sent.room(3)) == (-1_000, 0)
    sent.grow(1, 999)
    assert sent.room(1) == -1
    sent.resize(500)
    assert (sent.room(1), sent.room(3)) == (499, 500)
    assert sent.connection == WINDOW - 1_000


def test_a_stream_that_opens_later_starts_with_the_new_initial_window() -> None:
    sent = windows()
    sent.resize(100)
    sent.open(1)
    assert sent.room(1) == 100


def test_the_largest_window_is_reached_and_not_passed() -> None:
    sent = windows(1)
    sent.grow(0, WINDOW_MOST - WINDOW)
    sent.grow(1, WINDOW_MOST - WINDOW)
    assert sent.room(1) == WINDOW_MOST
    with pytest.raises(Violation) as on_connection:
        sent.grow(0, 1)
    with pytest.raises(StreamViolation) as on_stream:
        sent.grow(1, 1)
    assert on_connection.value.code == on_stream.value.code == ErrorCodes.FLOW_CONTROL_ERROR
    assert on_stream.value.stream_id == 1


def test_an_initial_window_that_lifts_a_stream_above_the_largest_ends_the_connection() -> None:
    # RFC 9113, 6.9.2: of the connection, though the stream is to blame
    sent = windows(1)
    sent.grow(1, 1)
    with pytest.raises(Violation) as caught:
        sent.resize(WINDOW_MOST)
    assert caught.value.code == ErrorCodes.FLOW_CONTROL_ERROR


def test_an_update_for_a_stream_without_a_window_changes_nothing() -> None:
    sent = windows(1)
    sent.close(1)
    sent.close(1)
    sent.grow(1, 5)
    sent.grow(3, 5)
    assert (sent.connection, sent._streams) == (WINDOW, {})


changes = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "spend", "grow", "grow", "resize", "resize"]),
        st.integers(0, 3).map(lambda n: 2 * n + 1),
        st.one_of(st.integers(0, 70_000), st.integers(WINDOW_MOST - 70_000, WINDOW_MOST)),
    ),
    max_size=40,
)


@given(changes)
@unhurried
def test_every_window_moves_with_the_initial_one_and_none_passes_the_largest(
    plan: list[tuple[str, int, int]],
) -> None:
    sent, initial, each = SendWindows(), WINDOW, dict[int, int]()
    sent.connection = WINDOW_MOST
    for verb, stream_id, size in plan:
        code = None
        try:
            if verb == "open" and stream_id not in each:
                sent.open(stream_id)
                each[stream_id] = initial
            elif verb == "close":
                sent.close(stream_id)
                each.pop(stream_id, None)
            elif verb == "spend" and stream_id in each:
                size = max(0, min(size, each[stream_id], sent.connection))
                each[stream_id] -= size
                sent.spend(stream_id, size)
            elif verb == "grow" and stream_id in each:
                each[stream_id] += size
                sent.grow(stream_id, size)
            elif verb == "resize":
                each = {one: window + size - initial for one, window in each.items()}
                initial = size
                sent.resize(size)
        except (Violation, StreamViolation) as violation:
            code = violation.code
        assert (code is not None) == any(window > WINDOW_MOST for window in each.values())
        if code is not None:
            assert code == ErrorCodes.FLOW_CONTROL_ERROR
            return
        assert {one: sent.room(one) for one in each} == {
            one: min(sent.connection, window) for one, window in each.items()
        }
        assert sent.widest() == min(each, key=lambda one: (-each[one], one), default=None)


def test_what_is_kept_of_windows_does_not_grow_with_their_updates() -> None:
    sent = windows(1, 3)
    for _ in range(10_000):
        sent.grow(1, 1)
        sent.spend(3, 1)
    assert len(sent._widest) < 100
    sent.close(1)
    sent.close(3)
    assert sent._widest == []


def test_the_receive_window_is_returned_when_half_of_it_is_used() -> None:
    received = ReceiveWindow()
    assert received.take(WINDOW // 2) == 0
    assert received.take(1) == WINDOW // 2 + 1
    assert received.take(0) == 0
    assert received.take(WINDOW) == WINDOW


def test_more_than_the_receive_window_is_a_fault() -> None:
    received = ReceiveWindow()
    received.take(30_000)
    with pytest.raises(Violation) as caught:
        received.take(WINDOW - 30_000 + 1)
    assert caught.value.code == ErrorCodes.FLOW_CONTROL_ERROR


@given(st.lists(st.integers(0, 16_384)))
@unhurried
def test_what_is_returned_is_what_was_taken_but_for_less_than_half(sizes: list[int]) -> None:
    received, outstanding = ReceiveWindow(), 0
    for size in sizes:
        increment = received.take(size)
        outstanding += size - increment
        assert increment == 0 or increment > WINDOW // 2
        assert 0 <= outstanding <= WINDOW // 2
