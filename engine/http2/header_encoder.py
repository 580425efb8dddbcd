"""Header blocks by prefix: what many requests share is encoded once (RFC 7541).

A *profile* is the header fields that many requests have in common (method, authority, authorization, topic, push
type, priority) and the name of one field that differs in each (apns-id). The first request of a profile puts its
fields into the peer's dynamic table; from then on each is one or two bytes, and the whole block is a cached
string. What differs per request is a literal without indexing, because a value that never returns would only push
useful entries out.

The table here is append-only: a field that no longer fits is sent as a literal, and nothing is ever evicted. An
index is then a matter of counting insertions, and a cached block stays true until the next insertion, which in a
running connection never comes. ``renew`` starts over, with two size updates (to 0 and back), when the fields
themselves change, as the provider token does every 50 minutes.

Huffman coding is left out: it would save a quarter of the header bytes, which no window counts, for CPU that every
push would pay.
"""

from typing import Final

from hpack.hpack import encode_integer
from hpack.table import HeaderTable

TABLE_SIZE_MOST: Final = 4_096
ENTRY_OVERHEAD: Final = 32
# a longer block is not cached, so that a cached one fits into the smallest frame with a path and a varying value
BLOCK_MOST: Final = 15_000
# so many profiles are cached
BLOCKS_MOST: Final = 1_000

_STATIC: Final[dict[tuple[bytes, bytes], int]] = {}
_STATIC_NAMES: Final[dict[bytes, int]] = {}
for _index, _field in enumerate(HeaderTable.STATIC_TABLE, 1):
    _STATIC.setdefault(_field, _index)
    _STATIC_NAMES.setdefault(_field[0], _index)
_DYNAMIC_FIRST: Final = len(HeaderTable.STATIC_TABLE) + 1

Field = tuple[bytes, bytes]


class Profile:
    """Header fields that many requests share, pseudo-header fields first, and the name of one that differs.

    Profiles are compared by identity, which is what makes looking one up cheap: keep one object for each.
    """

    __slots__ = ("fields", "varying")

    def __init__(self, fields: tuple[Field, ...], varying: bytes) -> None:
        self.fields = fields
        self.varying = varying

    def __repr__(self) -> str:
        return f"<Profile {len(self.fields)} fields>"


def length(count: int) -> bytes:
    """What a string literal of so many bytes begins with, without Huffman coding (RFC 7541, 5.2)."""
    return bytes(encode_integer(count, 7))


def text(value: bytes) -> bytes:
    """A string literal without Huffman coding (RFC 7541, 5.2)."""
    return length(len(value)) + value


class HeaderEncoder:
    """The sending half of HPACK for one connection. Blocks must go to the wire in the order they were made."""

    def __init__(self) -> None:
        self._limit = TABLE_SIZE_MOST
        self._used = 0
        self._entries: dict[Field, int] = {}
        self._names: dict[bytes, int] = {}
        self.blocks: dict[Profile, bytes] = {}
        self.size_updates = b""

    def __repr__(self) -> str:
        return f"<HeaderEncoder {len(self._entries)} entries, {self._used}/{self._limit} bytes>"

    def resize(self, limit: int) -> None:
        """Follow the peer's SETTINGS_HEADER_TABLE_SIZE; sizes above 4,096 are not made use of."""
        limit = min(limit, TABLE_SIZE_MOST)
        if limit != self._limit:
            self._limit = limit
            self.renew()

    def renew(self) -> None:
        """Start with an empty table from the next block on."""
        self._entries.clear()
        self._names.clear()
        self.blocks.clear()
        self._used = 0
        sizes = {0: None, self._limit: None}
        self.size_updates = b"".join(_integer(size, 5, 0x20) for size in sizes)

    def take_size_updates(self) -> bytes:
        """What the next header block must begin with (RFC 7541, 4.2); empty nearly always."""
        updates, self.size_updates = self.size_updates, b""
        return updates

    def first(self, profile: Profile, value: bytes) -> bytes:
        """The block of a profile that ``blocks`` does not hold, with its varying field's value.

        It teaches the peer the fields that it does not know. When nothing was left to teach, ``blocks`` holds the
        profile from then on, unless it is uncommonly long: its block is ``blocks[profile] + text(value)``.
        """
        entries = len(self._entries)
        block = b"".join(self._field(name, field) for name, field in profile.fields)
        if profile.varying in self._names or profile.varying in _STATIC_NAMES:
            # a literal also where the static table has this very value, for what is cached must end before it
            last = self.literal(profile.varying, value)
        else:
            last = self._field(profile.varying, value)
        if len(self._entries) == entries:
            cached = block + last[: -len(text(value))]
            if len(cached) <= BLOCK_MOST:
                if len(self.blocks) >= BLOCKS_MOST:
                    # nobody says which of them will come again
                    self.blocks.clear()
                self.blocks[profile] = cached
        else:
            # every insertion moves the indices of all entries
            self.blocks.clear()
        return block + last

    def literal(self, name: bytes, value: bytes) -> bytes:
        """A field without indexing (RFC 7541, 6.2.2)."""
        return self._name(name, 4, 0x00) + text(value)

    def _field(self, name: bytes, value: bytes) -> bytes:
        index = _STATIC.get((name, value)) or self._index(self._entries.get((name, value)))
        if index:
            return _integer(index, 7, 0x80)
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if self._used + size > self._limit:
            return self.literal(name, value)
        # the name's index is of the table before the insertion
        literal = self._name(name, 6, 0x40) + text(value)
        self._used += size
        self._entries[name, value] = self._names[name] = len(self._entries)
        return literal

    def _name(self, name: bytes, bits: int, pattern: int) -> bytes:
        index = _STATIC_NAMES.get(name) or self._index(self._names.get(name))
        return _integer(index, bits, pattern) if index else bytes((pattern,)) + text(name)

    def _index(self, insertion: int | None) -> int:
        """The index now of the entry that was inserted as number ``insertion``; 0 for none."""
        return 0 if insertion is None else _DYNAMIC_FIRST + len(self._entries) - 1 - insertion


def _integer(value: int, bits: int, pattern: int) -> bytes:
    encoded = encode_integer(value, bits)
    encoded[0] |= pattern
    return bytes(encoded)
