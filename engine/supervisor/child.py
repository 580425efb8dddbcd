"""One row's child through all its lives: its phase, its process, its deadlines.

Every change of phase goes through the table of `engine.supervisor.phase`. A child knows how to be
started, asked, killed and buried; whether and when is the supervisor's business.
"""

from __future__ import annotations

import logging
import os
import signal

from engine.policy.restart import Deaths
from engine.supervisor.fork import Nursery
from engine.supervisor.phase import ALIVE, Phase, Step, advance
from engine.supervisor.pulse import PulseBoard
from engine.supervisor.rows import Row

log = logging.getLogger("clarion.supervisor")


class Child:
    """A row and what has become of it. All times are monotonic seconds."""

    def __init__(self, row: Row, slot: int) -> None:
        self.row = row
        self.phase = Phase.STOPPED
        self.pid = 0
        self.started_s = 0.0
        self.deaths = Deaths()
        # Meaningful in one phase each: when to start again (WAITING), when to kill (STOPPING).
        self.due_s = 0.0
        self.kill_at_s = 0.0
        self.asked_s = 0.0
        self.hurried = False
        self._slot = slot
        self._lives = 0
        self._killed_for = ""
        self._told_slow = False

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.phase in ALIVE

    def start(self, nursery: Nursery, now_s: float) -> bool:
        """Forks. False when the system would not (out of processes or memory): as good as a death."""
        self.phase = advance(self.phase, Step.START)
        self.started_s = now_s
        self._killed_for = ""
        self._told_slow = False
        try:
            self.pid = nursery.spawn(self.row, slot=self._slot, restarts=self._lives)
        except OSError as error:
            log.error("%s could not be forked: %s", self.row.name, error.strerror)
            return False
        self._lives += 1
        log.info("%s started, pid %d", self.row.name, self.pid)
        return True

    def look_ready(self, board: PulseBoard, now_s: float) -> None:
        """STARTING to RUNNING once the child has pulsed (if it does) and its row says it is ready."""
        pulsing = not self.row.pulsed or board.last_s(self._slot) > 0.0
        if pulsing and (self.row.ready is None or self.row.ready()):
            self.phase = advance(self.phase, Step.READY)
        elif not self._told_slow and now_s - self.started_s > self.row.ready_s:
            # Only told: a Redis that loads a long file would start anew if it were killed for it.
            self._told_slow = True
            log.warning("%s (pid %d) is not ready after %g s", self.row.name, self.pid, self.row.ready_s)

    def silent_s(self, board: PulseBoard, now_s: float, counted_from_s: float) -> float:
        """For how long nothing has been heard, counted from `counted_from_s` at the earliest."""
        return now_s - max(board.last_s(self._slot), self.started_s, counted_from_s)

    def has_pulsed(self, board: PulseBoard) -> bool:
        """Whether this life of the child has left a pulse yet."""
        return board.last_s(self._slot) > 0.0

    def ask_stop(self, now_s: float, grace_s: float) -> None:
        """Asks whoever lives to stop within `grace_s`; calls off a start that was due."""
        if self.phase in (Phase.STOPPED, Phase.STOPPING):
            return
        alive = self.alive
        self.phase = advance(self.phase, Step.STOP)
        self.asked_s = now_s
        self.hurried = False
        self.kill_at_s = now_s + grace_s
        if alive:
            self._send(self.row.stop_signal)

    def hurry(self, now_s: float, grace_s: float) -> None:
        """Asks whoever is stopping a second time, and leaves it `grace_s`.

        A child of ours may give back what it holds at the second signal, and would lose it to SIGKILL at
        the end of a grace of which it knows nothing. A foreign program may take a second signal for
        anything, so it gets none.
        """
        if self.phase is not Phase.STOPPING or self.hurried:
            return
        self.hurried = True
        self.kill_at_s = min(self.kill_at_s, now_s + grace_s)
        if not self.row.foreign:
            self._send(self.row.stop_signal)

    def kill(self, reason: str) -> None:
        """SIGKILL, once per life; the phase changes when the death is reaped."""
        if not self._killed_for:
            self._killed_for = reason
            log.warning("%s (pid %d) killed: %s", self.row.name, self.pid, reason)
            self._send(signal.SIGKILL)

    def await_restart(self, due_s: float, deaths: Deaths) -> None:
        """Dead, to be started again at `due_s`."""
        self.phase = advance(self.phase, Step.DIED)
        self.pid = 0
        self.due_s = due_s
        self.deaths = deaths

    def bury(self) -> None:
        """Dead, not to be started again."""
        self.phase = advance(self.phase, Step.GONE)
        self.pid = 0

    def _send(self, number: signal.Signals) -> None:
        # The pid cannot have gone to a stranger: until it is reaped it stays taken, as a zombie.
        os.kill(self.pid, number)

    def __repr__(self) -> str:
        return f"{self.row.name}={self.phase.name}" + (f"[{self.pid}]" if self.pid else "")


def described(exit_code: int) -> str:
    """An exit code in words; negative is a signal's number."""
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
