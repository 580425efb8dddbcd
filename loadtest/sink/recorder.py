"""A sink that remembers: every push that it accepts, by its apns-id, with the time and the connection.

Like `loadtest.sink.protocol` it reads frames and answers 200, but it also keeps a record, so that a test can say
which pushes were lost and which came twice. The simulator's ledger says more about each and costs a whole CPU at
8,000 pushes a second; this costs a few microseconds a push.

The apns-id is found without decoding the block: our client sends it as the last field, a string literal that is not
Huffman-coded, so the block ends with the byte 36 and a UUID of 36 characters. That is a habit of one client and no
rule of HPACK. So the first blocks of every connection are decoded with the `hpack` library too, and a block where the
scan finds no id, or hpack finds another one, counts as *misread*; a verdict with misread blocks is worth nothing.
(From the first block on without a gap: a decoder follows its peer's table, and could not start in the middle.)

A push counts as accepted when its last byte has been read, and is in the record before its answer leaves: what the
client never hears of was accepted all the same, as with Apple.

The record is an append-only file, one piece for each read: time (Unix seconds, double), number of the connection,
number of ids, then the ids of 36 bytes each. `pieces` reads it.
"""

import re
import struct
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from hpack import Decoder
from hpack.exceptions import HPACKError

from loadtest.sink.protocol import ANSWER_HEAD, END_STREAM, STATUS_200, FrameProtocol

ID_BYTES: Final = 36
# blocks of each connection that hpack reads too: the first of every profile is among them, and many cached ones
COMPARED: Final = 64

_PIECE: Final = struct.Struct("<dII")
_END_HEADERS: Final = 0x4
_ID_AT_END: Final = re.compile(rb"\x24([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
# :status 503, a literal with the name of static entry 8, and the body that Apple would send
_BODY_503: Final = b'{"reason":"ServiceUnavailable"}'


class Piece(NamedTuple):
    """Ids that one connection brought in one read."""

    at_s: float
    connection: int
    ids: list[bytes]


def pieces(record: Path) -> Iterator[Piece]:
    """The record so far, oldest first; a piece that is not whole yet is left for the next reader."""
    with record.open("rb") as file:
        while len(head := file.read(_PIECE.size)) == _PIECE.size:
            at_s, connection, count = _PIECE.unpack(head)
            ids = file.read(count * ID_BYTES)
            if len(ids) < count * ID_BYTES:
                return
            yield Piece(at_s, connection, [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)])


class Faults(NamedTuple):
    """One push in so many is answered 503, or not at all; 0: none. Neither is recorded as accepted."""

    refuse_every: int = 0
    silent_every: int = 0


class Recorder:
    """What all connections of one sink share. `counted` is told the number of accepted pushes, once a read."""

    def __init__(self, record: Path, faults: Faults, counted: Callable[[int], None]) -> None:
        # unbuffered: what was accepted is the kernel's before the answer goes out
        self._file = FileIO(record, "ab")
        self._counted = counted
        self.faults = faults
        self.connections = 0
        self.requests = 0
        self.accepted = 0
        self.refused = 0
        self.silent = 0
        self.misread = 0
        self.compared = 0

    def __repr__(self) -> str:
        return f"<Recorder {self.accepted} accepted, {self.misread} misread, {self.connections} connections>"

    def write(self, connection: int, ids: list[bytes]) -> None:
        """Append a piece."""
        self.accepted += len(ids)
        self._file.write(_PIECE.pack(time.time(), connection, len(ids)) + b"".join(ids))
        self._counted(len(ids))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class RecordingProtocol(FrameProtocol):
    """One connection."""

    def __init__(self, recorder: Recorder, streams: int) -> None:
        super().__init__(streams)
        self._recorder = recorder
        # of streams whose headers came and whose end did not
        self._ids: dict[bytes, bytes] = {}
        self._accepted: list[bytes] = []
        self._decoder = Decoder()
        self._to_compare = COMPARED
        recorder.connections += 1
        self._number = recorder.connections

    def __repr__(self) -> str:
        return f"<RecordingProtocol {self._number}, {len(self._ids)} streams half read>"

    def _headers(self, data: bytes, position: int, following: int) -> None:
        self._ids[data[position + 5 : position + 9]] = self._read_id(data, position, following)

    def _batch_read(self) -> None:
        if self._accepted:
            self._recorder.write(self._number, self._accepted)
            self._accepted = []

    def _read_id(self, data: bytes, position: int, following: int) -> bytes:
        """The apns-id of a header block; empty, and counted as misread, where there is none to be found."""
        found = _ID_AT_END.match(data, following - ID_BYTES - 1, following)
        # no padding, no priority and no CONTINUATION: those would move the end of the block
        plain = data[position + 4] & ~END_STREAM == _END_HEADERS
        apns_id = found[1] if found is not None and plain else b""
        if self._to_compare:
            self._to_compare -= 1
            self._compare(apns_id, data[position + 9 : following])
        elif not apns_id:
            self._recorder.misread += 1
        return apns_id

    def _compare(self, scanned: bytes, block: bytes) -> None:
        self._recorder.compared += 1
        try:
            fields = self._decoder.decode(block, raw=True)
        except HPACKError:
            fields = []
        ids = [bytes(value) for name, value in fields if name == b"apns-id"]
        if not scanned or ids != [scanned]:
            self._recorder.misread += 1

    def _end_stream(self, stream: bytes, out: list[bytes]) -> None:
        recorder = self._recorder
        apns_id = self._ids.pop(stream, b"")
        recorder.requests += 1
        faults = recorder.faults
        if faults.silent_every and recorder.requests % faults.silent_every == 0:
            recorder.silent += 1
        elif faults.refuse_every and recorder.requests % faults.refuse_every == 0:
            recorder.refused += 1
            out.append(b"\x00\x00\x05\x01\x04" + stream + b"\x08\x03503")
            out.append(len(_BODY_503).to_bytes(3) + b"\x00\x01" + stream + _BODY_503)
        else:
            if apns_id:
                self._accepted.append(apns_id)
            out.append(ANSWER_HEAD + stream + STATUS_200)
