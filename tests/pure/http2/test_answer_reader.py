"""The answer reader: answers of every legal shape, and each way to get one wrong."""

from __future__ import annotations

import pytest
from frame_factory import (
    END_HEADERS,
    END_STREAM,
    OK,
    PADDED,
    PRIORITY_FLAG,
    WINDOW,
    block_of,
    literal,
    padded,
)
from h2.errors import ErrorCodes

from engine.http2.answer_reader import BODY_MOST, CONTINUATIONS_MOST, AnswerReader, Whole
from engine.http2.faults import StreamViolation, Violation

BAD = block_of((b":status", b"400"))
WHOLE = END_STREAM | END_HEADERS
STATUS_400 = ((b":status", b"400"),)
STATUS_200 = ((b":status", b"200"),)


def reader(block: bytes | None = None) -> AnswerReader:
    """A reader in the steady state, and with a block when stream 1's answer has begun."""
    made = AnswerReader()
    made.decoder.table_size_acknowledged()
    if block is not None:
        assert made.headers(END_HEADERS, 1, block, True) is None
    return made


def test_an_answer_may_be_one_headers_frame() -> None:
    assert reader().headers(WHOLE, 1, BAD, True) == Whole(1, 400, STATUS_400, b"")


def test_an_answer_with_a_body_is_whole_at_its_end() -> None:
    answers = reader(BAD)
    assert answers.data(0, 1, b'{"reason":') is None
    assert answers.data(END_STREAM, 1, b'"X"}') == Whole(1, 400, STATUS_400, b'{"reason":"X"}')
    assert answers.partial == {}


def test_answers_of_several_streams_may_be_mixed() -> None:
    answers = reader(BAD)
    answers.headers(END_HEADERS, 3, OK, True)
    answers.data(0, 1, b"one")
    assert answers.data(END_STREAM, 3, b"three") == Whole(3, 200, STATUS_200, b"three")
    assert answers.data(END_STREAM, 1, b"") == Whole(1, 400, STATUS_400, b"one")


def test_trailers_end_an_answer_and_are_not_kept() -> None:
    answers = reader(BAD)
    answers.data(0, 1, b"body")
    assert answers.headers(WHOLE, 1, literal(b"x", b"y"), True) == Whole(1, 400, STATUS_400, b"body")


@pytest.mark.parametrize(
    ("flags", "block"),
    [
        (END_HEADERS, literal(b"x", b"y")),
        (END_HEADERS, OK),
        (WHOLE, OK),
        (WHOLE, literal(b":path", b"/")),
        (WHOLE, literal(b"X", b"y")),
        (WHOLE, literal(b"", b"y")),
    ],
)
def test_a_second_header_block_that_is_not_trailers_is_a_fault_of_the_stream(
    flags: int, block: bytes
) -> None:
    answers = reader(BAD)
    with pytest.raises(StreamViolation) as caught:
        answers.headers(flags, 1, block, True)
    assert (caught.value.stream_id, caught.value.code) == (1, ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize("status", [b"100", b"103", b"199"])
def test_interim_answers_are_passed_over(status: bytes) -> None:
    answers = reader()
    for _ in range(3):
        assert answers.headers(END_HEADERS, 1, block_of((b":status", status)), True) is None
    assert answers.partial == {}
    assert answers.headers(WHOLE, 1, OK, True) == Whole(1, 200, STATUS_200, b"")


@pytest.mark.parametrize(
    ("flags", "block"),
    [
        (END_HEADERS, block_of((b":status", b"101"))),  # RFC 9113, 8.6
        (WHOLE, block_of((b":status", b"100"))),
        (WHOLE, block_of((b":status", b"099"))),
        (WHOLE, literal(b"x", b"y")),
        (WHOLE, b""),
        (END_HEADERS, OK + OK),
        (WHOLE, BAD + literal(b"Date", b"y")),
    ],
)
def test_an_answer_without_a_proper_final_status_is_a_fault_of_the_stream(flags: int, block: bytes) -> None:
    with pytest.raises(StreamViolation) as caught:
        reader().headers(flags, 1, block, True)
    assert caught.value.code == ErrorCodes.PROTOCOL_ERROR


def test_data_before_headers_is_a_fault_of_the_stream() -> None:
    answers = reader()
    answers.headers(END_HEADERS, 1, block_of((b":status", b"103")), True)
    with pytest.raises(StreamViolation) as caught:
        answers.data(END_STREAM, 1, b"early")
    assert caught.value.code == ErrorCodes.PROTOCOL_ERROR


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding_is_taken_off(padding: int) -> None:
    answers = reader()
    answers.headers(END_HEADERS | PADDED, 1, padded(BAD, padding), True)
    assert answers.data(END_STREAM | PADDED, 1, padded(b"body", padding)) == Whole(
        1, 400, STATUS_400, b"body"
    )


def test_a_frame_may_be_nothing_but_padding() -> None:
    answers = reader(BAD)
    assert answers.data(PADDED, 1, padded(b"", 255)) is None
    assert answers.data(END_STREAM | PADDED, 1, b"\x00") == Whole(1, 400, STATUS_400, b"")


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05body", b"\xffbody"])
def test_padding_longer_than_its_frame_is_a_fault(payload: bytes) -> None:
    with pytest.raises(Violation) as in_data:
        reader(BAD).data(PADDED, 1, payload)
    with pytest.raises(Violation) as in_headers:
        reader().headers(PADDED, 1, payload, True)
    assert in_data.value.code == in_headers.value.code == ErrorCodes.PROTOCOL_ERROR


def test_priority_fields_stand_between_padding_and_block() -> None:
    flags = WHOLE | PADDED | PRIORITY_FLAG
    assert reader().headers(flags, 1, padded(b"\0\0\0\0\x10" + BAD, 3), True) == Whole(
        1, 400, STATUS_400, b""
    )
    with pytest.raises(Violation) as caught:
        reader().headers(WHOLE | PRIORITY_FLAG, 1, b"\0\0\0\0", True)
    assert caught.value.code == ErrorCodes.FRAME_SIZE_ERROR


def test_a_block_may_be_cut_anywhere_into_continuations() -> None:
    block = BAD + literal(b"apns-id", b"1")
    for cut in range(len(block) + 1):
        answers = reader()
        assert answers.headers(END_STREAM, 1, block[:cut], True) is None
        assert answers.continuation(0, b"", True) is None
        whole = answers.continuation(END_HEADERS, block[cut:], True)
        assert whole == Whole(1, 400, (*STATUS_400, (b"apns-id", b"1")), b"")
        assert answers.block is None


@pytest.mark.parametrize("part", [b"", b"x", b"x" * 16_384])
def test_a_flood_of_continuations_is_a_fault_before_much_is_kept(part: bytes) -> None:
    answers = reader()
    answers.headers(0, 1, b"", True)
    with pytest.raises(Violation) as caught:
        for _ in range(CONTINUATIONS_MOST):
            answers.continuation(0, part, True)
    assert caught.value.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert answers.block and sum(map(len, answers.block.parts)) <= 2 * 16_384


def test_as_many_continuations_as_are_allowed_are_read() -> None:
    answers = reader()
    answers.headers(END_STREAM, 1, BAD, True)
    for _ in range(CONTINUATIONS_MOST - 2):
        answers.continuation(0, b"", True)
    assert answers.continuation(END_HEADERS, b"", True) == Whole(1, 400, STATUS_400, b"")


def test_a_continuation_of_nothing_is_a_fault() -> None:
    with pytest.raises(Violation) as caught:
        reader().continuation(END_HEADERS, OK, True)
    assert caught.value.code == ErrorCodes.PROTOCOL_ERROR


def test_late_words_on_a_stream_that_is_over_are_decoded_only_while_there_is_a_table() -> None:
    insert = b"\x40" + literal(b"x", b"y")[1:]
    early = AnswerReader()
    assert early.headers(WHOLE, 1, insert, False) is None
    assert early.headers(WHOLE, 3, OK + b"\xbe", True) == Whole(3, 200, (*STATUS_200, (b"x", b"y")), b"")
    with pytest.raises(Violation) as caught:
        early.headers(WHOLE, 1, b"\x80", False)
    assert caught.value.code == ErrorCodes.COMPRESSION_ERROR
    assert reader().headers(WHOLE, 1, b"\x80", False) is None


def test_a_block_that_can_not_be_decoded_is_a_compression_error() -> None:
    with pytest.raises(Violation) as caught:
        reader().headers(WHOLE, 1, b"\x80", True)
    assert caught.value.code == ErrorCodes.COMPRESSION_ERROR


def test_a_long_body_is_cut_and_its_status_kept() -> None:
    answers = reader(BAD)
    assert answers.data(0, 1, b"x" * BODY_MOST) is None
    assert answers.data(0, 1, b"y") == Whole(1, 400, STATUS_400, b"x" * BODY_MOST, cut=True)
    assert answers.partial == {}


def test_a_long_body_that_ends_at_once_is_shortened_and_not_cut_off() -> None:
    assert reader(BAD).data(END_STREAM, 1, b"x" * 9_000) == Whole(1, 400, STATUS_400, b"x" * BODY_MOST)


def test_padding_counts_towards_the_stream_s_window() -> None:
    answers = reader(BAD)
    for _ in range(WINDOW // 256):
        answers.data(PADDED, 1, padded(b"", 255))
    with pytest.raises(StreamViolation) as caught:
        answers.data(PADDED, 1, padded(b"", 255))
    assert caught.value.code == ErrorCodes.FLOW_CONTROL_ERROR


def test_what_came_of_an_answer_is_kept_when_the_peer_ends_its_stream() -> None:
    answers = reader(BAD)
    answers.data(0, 1, b"bo")
    assert answers.cut_short(1) == Whole(1, 400, STATUS_400, b"bo")
    assert answers.cut_short(1) is None
