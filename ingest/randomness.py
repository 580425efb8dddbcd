"""Random bytes for ids, asked of the kernel in larger pieces."""

import os
from typing import Final

# A system call for the ten bytes of one push costs as much as reading its body does.
PIECE_BYTES: Final = 4_096


class Randomness:
    """``os.urandom``, buffered. Made after the fork, or two processes would give the same bytes."""

    def __init__(self) -> None:
        self._piece = b""
        self._at = 0

    def __repr__(self) -> str:
        # none of the bytes
        return f"<Randomness {len(self._piece) - self._at} bytes>"

    def __call__(self, size: int) -> bytes:
        """So many bytes, none of which was given before."""
        end = self._at + size
        if end > len(self._piece):
            self._piece, self._at, end = os.urandom(max(size, PIECE_BYTES)), 0, size
        taken = self._piece[self._at : end]
        self._at = end
        return taken
