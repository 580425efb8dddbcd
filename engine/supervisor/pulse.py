"""The pulse board: each child leaves the time of its last sign of life in shared memory.

One anonymous shared mapping, made before the first fork, holds a slot per row. The child writes its
monotonic clock there, about once a second and from its main loop, so that a loop which hangs stops
pulsing; the supervisor reads. CLOCK_MONOTONIC is one clock for all processes of a machine, so the
two compare. Unlike a pipe or a heartbeat file this costs no system call and cannot block or fill.

There is no lock: a slot has one writer, it is an aligned machine word that is stored by one
instruction (a cast memoryview copies native doubles whole), and a reader that is a little late does
no harm. Slots lie a cache line apart, so that the children do not slow each other.

A slot outlives the process that wrote it. It is wiped before each fork: a zero means "not yet", and
the age of the pulse then counts from the fork.
"""

from __future__ import annotations

import mmap
import time

_LINE = 64  # bytes of a cache line
_WORD = 8  # bytes of a double


class PulseBoard:
    """Slots 0 to `slots` - 1, shared with every child that is forked after it was made."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, max(1, slots) * _LINE)
        self._words = memoryview(self._memory).cast("d")
        self._slots = slots

    def wipe(self, slot: int) -> None:
        """Forgets the pulse of the process that had the slot before."""
        self._words[slot * _LINE // _WORD] = 0.0

    def beat(self, slot: int) -> None:
        """Leaves the time of now."""
        self._words[slot * _LINE // _WORD] = time.monotonic()

    def last_s(self, slot: int) -> float:
        """When the slot was last written, monotonic; 0.0 means never."""
        return self._words[slot * _LINE // _WORD]

    def close(self) -> None:
        """Gives the memory back; the board is of no use afterwards."""
        self._words.release()
        self._memory.close()

    def __repr__(self) -> str:
        return f"<PulseBoard {self._slots} slots>"


class ChildContext:
    """What a forked child is told: who it is, where to leave its pulse, how to learn of our end."""

    __slots__ = ("_board", "_slot", "index", "lifeline", "name", "restarts")

    def __init__(
        self, *, name: str, index: int, restarts: int, lifeline: int, board: PulseBoard, slot: int
    ) -> None:
        self.name = name
        self.index = index
        self.restarts = restarts
        # The read end of a pipe whose only write end is the supervisor's. It never carries a byte;
        # it becomes readable (end of file) when the supervisor is gone, however it went. A child
        # that sees that must stop, because nobody would ever stop it.
        self.lifeline = lifeline
        self._board = board
        self._slot = slot

    def pulse(self) -> None:
        """Says "alive". To be called about once a second from the child's main loop."""
        self._board.beat(self._slot)

    def __repr__(self) -> str:
        return f"<ChildContext {self.name} restarts={self.restarts} lifeline={self.lifeline}>"
