"""Signals as a queue: the handlers only enqueue, the supervisor's loop acts.

A handler may run between any two bytecodes of whatever the loop is doing, so it may not touch state
or write a log line (the log's lock may be held by the very code that it interrupted). Here the
handlers are empty. CPython's own C handler writes the signal's number as one byte to the wakeup file
descriptor, and the loop, which sleeps in poll() on the other end of that pipe, reads the bytes and
looks the numbers up in its table. A byte that arrives before poll() is entered is not lost, which is
the race that makes `signal.pause()` and flags unusable.

A pipe that is full drops bytes: that takes 65,536 unread signals. Only SIGCHLD could come in such
numbers, and the loop reaps on every turn without looking for that byte.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from types import FrameType
from typing import Any


def _enqueued(number: int, frame: FrameType | None) -> None:
    """Empty on purpose: by the time it runs the byte is in the pipe."""


class SignalQueue:
    """Catches the given signals between `open` and `close`; main thread only, as `signal` demands."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._before: list[tuple[signal.Signals, Any]] = []
        self._wakeup_before = -1
        self._read_end = self._write_end = -1
        self._poll = select.poll()

    def open(self) -> None:
        """Begins to catch."""
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._poll.register(self._read_end, select.POLLIN)
        self._wakeup_before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._before = [(number, signal.signal(number, _enqueued)) for number in self._numbers]

    def wait(self, timeout_s: float) -> list[signal.Signals]:
        """Sleeps until a signal has come or the time is over; gives the signals in their order.

        Equal signals that came together are given once, as the kernel itself merges them.
        """
        if not self._poll.poll(max(0.0, timeout_s) * 1000):
            return []
        try:
            numbers = os.read(self._read_end, 65536)
        except BlockingIOError:
            return []
        # The C handler also reports signals that others in this process catch: not ours to act on.
        return [signal.Signals(number) for number in dict.fromkeys(numbers) if number in self._numbers]

    def disown(self) -> None:
        """In a forked child: every signal back to its default, and the pipe closed.

        Without this a signal for the child would wake the supervisor through the shared pipe.
        """
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._read_end)
        os.close(self._write_end)

    def close(self) -> None:
        """Ends catching; what was set before is set again."""
        for number, before in self._before:
            # None stands for a handler that C code had set: Python cannot put that back.
            signal.signal(number, signal.SIG_DFL if before is None else before)
        signal.set_wakeup_fd(self._wakeup_before)
        self._poll.unregister(self._read_end)
        os.close(self._read_end)
        os.close(self._write_end)

    def __repr__(self) -> str:
        return f"<SignalQueue {' '.join(number.name for number in self._numbers)}>"
