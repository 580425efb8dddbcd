"""The record of an nginx sink that keeps one: which pushes it answered, and when."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from loadtest.sink.recorder import ID_BYTES, Piece


def pieces(record: Path) -> Iterator[Piece]:
    """The record so far, as that of the recording sink is read. Raises ValueError for a push without a proper id."""
    with record.open("rb") as file:
        # neighbours of one connection and one millisecond are one piece
        for head, lines in groupby(file, key=lambda line: line.rpartition(b" ")[0]):
            ids = [line[-ID_BYTES - 1 : -1] for line in lines]
            at, _, connection = head.partition(b" ")
            if any(len(apns_id) != ID_BYTES or b" " in apns_id for apns_id in ids):
                raise ValueError(f"{record}: a push without an apns-id of {ID_BYTES} characters")
            yield Piece(float(at), int(connection), ids)
