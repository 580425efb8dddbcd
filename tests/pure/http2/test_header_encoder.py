"""The header encoder against a decoder that we did not write: whatever happens, the fields arrive as they left."""

from __future__ import annotations

import pytest
from frame_factory import unhurried
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from engine.http2.header_encoder import (
    BLOCKS_MOST,
    ENTRY_OVERHEAD,
    TABLE_SIZE_MOST,
    Field,
    HeaderEncoder,
    Profile,
    text,
)

METHOD = (b":method", b"POST")
TOPIC = (b"apns-topic", b"com.example.app")


class Peer:
    """The other end of the encoder, used as the request writer uses it."""

    def __init__(self) -> None:
        self.encoder = HeaderEncoder()
        self.decoder = Decoder()

    def settings(self, limit: int) -> None:
        """The server announces a table size, and the encoder acknowledges it at once."""
        self.encoder.resize(limit)
        self.decoder.max_allowed_table_size = limit

    def block(self, profile: Profile, value: bytes, extra: tuple[Field, ...] = ()) -> bytes:
        encoder = self.encoder
        known = encoder.blocks.get(profile)
        block = encoder.take_size_updates()
        block += encoder.first(profile, value) if known is None else known + text(value)
        return block + b"".join(encoder.literal(*field) for field in extra)

    def arrives(self, profile: Profile, value: bytes, extra: tuple[Field, ...] = ()) -> bytes:
        """Sends one block, checks what the peer makes of it, and returns it."""
        block = self.block(profile, value, extra)
        fields = [(bytes(name), bytes(got)) for name, got in self.decoder.decode(block, raw=True)]
        assert fields == [*profile.fields, (profile.varying, value), *extra]
        table = self.decoder.header_table
        assert table._current_size <= min(TABLE_SIZE_MOST, self.decoder.max_allowed_table_size)
        assert len(table.dynamic_entries) == len(self.encoder._entries)
        assert table._current_size == self.encoder._used
        return block


names = st.sampled_from(
    [b"apns-topic", b"apns-id", b"apns-priority", b"authorization", b"date", b"accept-encoding", b"x"]
)
values = st.one_of(
    st.sampled_from([b"", b"10", b"gzip, deflate", b"com.example.app"]),
    st.binary(max_size=40),
    st.integers(100, 1_500).map(lambda size: b"v" * size),
)
fields = st.tuples(names, values)
profiles = st.lists(
    st.builds(Profile, st.lists(fields, max_size=5).map(lambda some: (METHOD, *some)), names),
    min_size=1,
    max_size=5,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 4), values, st.lists(fields, max_size=2)),
        st.tuples(st.just("renew"), st.none(), st.none(), st.none()),
        st.tuples(
            st.just("settings"),
            st.one_of(st.integers(0, 200), st.sampled_from([0, 1_000, 4_095, 4_096, 65_536])),
            st.none(),
            st.none(),
        ),
    ),
    max_size=30,
)


@given(profiles, steps)
@unhurried
def test_whatever_is_sent_renewed_and_resized_arrives_as_it_left(some: list[Profile], plan: list) -> None:  # type: ignore[type-arg]
    peer = Peer()
    for verb, number, value, extra in plan:
        if verb == "send":
            peer.arrives(some[number % len(some)], value, tuple(extra))
        elif verb == "renew":
            peer.encoder.renew()
        else:
            peer.settings(number)


def test_a_profile_becomes_one_byte_a_field_and_is_cached() -> None:
    peer = Peer()
    profile = Profile((METHOD, TOPIC), b"apns-id")
    first, second, third = (peer.arrives(profile, b"id-%d" % n) for n in range(3))
    assert len(first) > 30
    assert peer.encoder.blocks[profile] + text(b"id-2") == third
    # two indexed fields, and the name's index in two bytes (it is above 15)
    assert len(second) == len(third) == 2 + 2 + len(text(b"id-1"))


def test_many_profiles_share_what_they_have_in_common() -> None:
    peer = Peer()
    some = [Profile((METHOD, TOPIC, (b"apns-priority", b"%d" % n)), b"apns-id") for n in range(10)]
    for _ in range(2):
        for profile in some:
            peer.arrives(profile, b"1")
    assert set(peer.encoder.blocks) == set(some)
    # the topic once, each priority once, and the varying field's name once
    assert len(peer.encoder._entries) == 1 + 10 + 1


def test_a_new_profile_moves_the_indices_of_the_cached_ones() -> None:
    peer = Peer()
    old, new = Profile((TOPIC,), b"apns-id"), Profile(((b"apns-topic", b"other"),), b"apns-id")
    peer.arrives(old, b"1")
    before = peer.arrives(old, b"1")
    peer.arrives(new, b"1")
    assert peer.arrives(old, b"1") != before


def test_a_field_that_no_longer_fits_is_sent_as_a_literal_and_nothing_is_evicted() -> None:
    peer = Peer()
    large = b"v" * 1_200
    some = [Profile(((b"n%d" % n, large),), b"apns-id") for n in range(5)]
    for profile in some * 2:
        peer.arrives(profile, b"1")
    kept = [name for name, _ in peer.encoder._entries]
    assert kept == [b"n0", b"apns-id", b"n1", b"n2"]
    assert peer.encoder.blocks.keys() == set(some)
    assert len(peer.arrives(some[4], b"1")) > 1_200


@pytest.mark.parametrize(("spare", "kept"), [(0, b"apns-topic"), (1, b"x")])
def test_an_entry_as_large_as_the_table_fits_and_one_byte_more_does_not(spare: int, kept: bytes) -> None:
    peer = Peer()
    value = b"v" * (TABLE_SIZE_MOST - ENTRY_OVERHEAD - len(b"apns-topic") + spare)
    peer.arrives(Profile(((b"apns-topic", value),), b"x"), b"1")
    assert [name for name, _ in peer.encoder._entries] == [kept]


@pytest.mark.parametrize(
    ("limits", "updates"),
    [
        ([0], b"\x20"),
        ([100], b"\x20\x3f\x45"),
        # the smallest size of the interval has to be signalled (RFC 7541, 4.2); 0 is below all
        ([0, 4_096], b"\x20\x3f\xe1\x1f"),
        ([2_048, 1_024, 2_048], b"\x20\x3f\xe1\x0f"),
        # above 4,096 nothing changes
        ([65_536], b""),
        ([4_096], b""),
    ],
)
def test_a_new_limit_is_said_at_the_start_of_the_next_block(limits: list[int], updates: bytes) -> None:
    peer = Peer()
    profile = Profile((TOPIC,), b"apns-id")
    peer.arrives(profile, b"1")
    plain = peer.arrives(profile, b"1")
    for limit in limits:
        peer.settings(limit)
    block = peer.arrives(profile, b"1")
    assert block.startswith(updates)
    assert (block == plain) == (not updates)
    assert not peer.arrives(profile, b"1").startswith(b"\x20")


def test_renewal_empties_the_table_once() -> None:
    peer = Peer()
    old, new = (Profile(((b"authorization", b"bearer " + b"%d" % n * 200),), b"apns-id") for n in (1, 2))
    peer.arrives(old, b"1")
    peer.encoder.renew()
    assert peer.encoder.blocks == {}
    block = peer.arrives(new, b"1")
    assert block.startswith(b"\x20\x3f\xe1\x1f")
    assert [value for _, value in peer.decoder.header_table.dynamic_entries] == [
        b"1",
        b"bearer " + b"2" * 200,
    ]


@pytest.mark.parametrize(("varying", "value"), [(b"accept-encoding", b"gzip, deflate"), (b"date", b"")])
def test_a_varying_field_that_is_in_the_static_table_is_not_cached_with_its_first_value(
    varying: bytes, value: bytes
) -> None:
    peer = Peer()
    profile = Profile((METHOD,), varying)
    for each in (value, b"other", value, b""):
        peer.arrives(profile, each)


def test_a_block_too_long_for_the_smallest_frame_is_not_cached() -> None:
    # the quick way puts a cached block into one HEADERS frame without looking at its length
    peer = Peer()
    profile = Profile(((b"n", b"v" * 15_500),), b"apns-id")
    for _ in range(3):
        peer.arrives(profile, b"1")
    assert profile not in peer.encoder.blocks


def test_so_many_profiles_are_cached_at_most_and_those_let_go_still_arrive() -> None:
    peer = Peer()
    peer.settings(0)
    profiles = [Profile((METHOD, (b"apns-push-type", b"%d" % n)), b"apns-id") for n in range(BLOCKS_MOST + 2)]
    for profile in (*profiles, *profiles[:2]):
        peer.arrives(profile, b"1")
        assert profile in peer.encoder.blocks and len(peer.encoder.blocks) <= BLOCKS_MOST


def test_strings_have_their_length_in_as_many_bytes_as_it_needs() -> None:
    assert text(b"") == b"\x00"
    assert text(b"v" * 126)[:2] == b"\x7ev"
    assert text(b"v" * 127)[:3] == b"\x7f\x00v"
    assert text(b"v" * 300)[:4] == b"\x7f\xad\x01v"


def test_its_repr_says_how_full_the_table_is() -> None:
    peer = Peer()
    peer.arrives(Profile((TOPIC,), b"apns-id"), b"1")
    assert repr(peer.encoder) == "<HeaderEncoder 2 entries, 97/4096 bytes>"
