"""The header decoder: blocks before and after the peer knows that there is no table, and what a status is."""

from __future__ import annotations

import pytest
from frame_factory import block_of, literal, unhurried
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from engine.http2.header_decoder import HEADER_LIST_MOST, HeaderDecoder, is_regular, status_of

STATUS = (b":status", b"400")
FIELD = (b"apns-id", b"EC1BF194-B3B2-424A-89A9-5A918A6E6B5D")
# a literal with incremental indexing, and the index that it then has
INSERT, INSERTED = b"\x40" + literal(b"x", b"y")[1:], b"\xbe"


def decoder(*, self_contained: bool) -> HeaderDecoder:
    made = HeaderDecoder()
    if self_contained:
        made.table_size_acknowledged()
    return made


def test_before_the_acknowledgement_blocks_build_on_one_another() -> None:
    early = decoder(self_contained=False)
    assert early.decode(INSERT) == ((b"x", b"y"),)
    assert early.decode(INSERTED + INSERTED) == ((b"x", b"y"),) * 2
    assert repr(early) == "<HeaderDecoder with table>"


def test_after_the_acknowledgement_no_block_may_refer_to_an_earlier_one() -> None:
    late = decoder(self_contained=False)
    late.decode(INSERT)
    late.table_size_acknowledged()
    assert repr(late) == "<HeaderDecoder self-contained>"
    with pytest.raises(ValueError, match="InvalidTableIndex"):
        late.decode(INSERTED)


def test_after_the_acknowledgement_a_field_may_still_ask_to_be_indexed_and_is_not() -> None:
    late = decoder(self_contained=True)
    assert late.decode(INSERT) == ((b"x", b"y"),)
    with pytest.raises(ValueError, match="InvalidTableIndex"):
        late.decode(INSERTED)


def test_a_block_may_begin_with_the_table_size_zero_that_it_was_told() -> None:
    assert decoder(self_contained=True).decode(b"\x20\x88") == ((b":status", b"200"),)


def test_a_table_size_above_the_announced_one_can_not_be_decoded() -> None:
    with pytest.raises(ValueError, match="InvalidTableSizeError"):
        decoder(self_contained=True).decode(b"\x21\x88")
    with pytest.raises(ValueError, match="InvalidTableSizeError"):
        decoder(self_contained=False).decode(b"\x3f\xe2\x1f\x88")


@given(st.lists(st.lists(st.tuples(st.sampled_from([b"x", b"date", b":status"]), st.binary(max_size=30)))))
@unhurried
def test_what_another_encoder_says_arrives_with_and_without_its_table(
    blocks: list[list[tuple[bytes, bytes]]],
) -> None:
    encoder, ours = Encoder(), decoder(self_contained=False)
    for number, fields in enumerate(blocks):
        if number == 2:
            encoder.header_table_size = 0
            ours.table_size_acknowledged()
        assert ours.decode(encoder.encode(fields)) == tuple(fields)


def test_huffman_coding_is_understood() -> None:
    block = Encoder().encode([STATUS, FIELD], huffman=True)
    assert len(block) < len(b"".join(FIELD))
    assert decoder(self_contained=True).decode(block) == (STATUS, FIELD)


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\xff\xff\xff\xff\xff\xff",  # an integer without end
        b"\x00",  # a literal without its name
        b"\x00\x05ab",  # a name shorter than its length
        b"\x00\x01a",  # a literal without its value
        b"\x00\x01a\x05b",
        b"\x00\x81\xff\x01b",  # a Huffman string that is all padding
        b"\x88\x20",  # a table size after a field
        b"\x7f",
    ],
)
@pytest.mark.parametrize("self_contained", [False, True])
def test_a_block_that_is_not_hpack_is_a_value_error_and_nothing_else(
    block: bytes, self_contained: bool
) -> None:
    with pytest.raises(ValueError, match="can't be decoded"):
        decoder(self_contained=self_contained).decode(block)


@given(st.binary(max_size=60), st.booleans())
@unhurried
def test_any_bytes_are_header_fields_or_a_value_error(block: bytes, self_contained: bool) -> None:
    try:
        fields = decoder(self_contained=self_contained).decode(block)
    except ValueError:
        return
    assert all(type(name) is type(value) is bytes for name, value in fields)


def test_a_small_block_that_means_a_large_list_is_refused() -> None:
    bomb = decoder(self_contained=False)
    bomb.decode(b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4_000)
    times = HEADER_LIST_MOST // (4_001 + 32)
    assert len(bomb.decode(INSERTED * times)) == times
    with pytest.raises(ValueError, match=f"above {HEADER_LIST_MOST} bytes"):
        bomb.decode(INSERTED * (times + 1))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([STATUS], 400),
        ([STATUS, FIELD], 400),
        ([(b":status", b"100")], 100),
        ([(b":status", b"999")], 999),
        ([], None),
        ([FIELD], None),
        ([FIELD, STATUS], None),
        ([STATUS, STATUS], None),
        ([STATUS, (b":path", b"/")], None),
        ([STATUS, (b"", b"nameless")], None),
        ([STATUS, (b"Apns-Id", b"1")], None),
        *(
            ([(b":status", value)], None)
            for value in (b"", b"20", b"2000", b"2 0", b"+20", b"2e1", b"abc", b"099", "２０".encode())
        ),
    ],
)
def test_a_status_is_three_digits_once_and_first(
    fields: list[tuple[bytes, bytes]], status: int | None
) -> None:
    assert status_of(decoder(self_contained=True).decode(block_of(*fields))) == status


@pytest.mark.parametrize(
    ("name", "regular"), [(b"apns-id", True), (b":status", False), (b"", False), (b"Date", False)]
)
def test_a_regular_name_is_lower_case_and_has_no_colon_in_front(name: bytes, regular: bool) -> None:
    assert is_regular(name) is regular
