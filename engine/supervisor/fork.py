"""Forking: what happens between the supervisor and the first line of a child, and nothing else.

The order of things is the whole difficulty:

1. stdout, stderr and the log are flushed, or the child would print the parent's buffered text again.
2. All signals are blocked. One that came in the child before it had dropped the supervisor's handlers
   would go to the supervisor's queue, through the pipe that both still share.
3. fork. The supervisor has no threads, so no lock can be held by one that does not exist in the child.
4. The child leaves the process group: Ctrl-C in a terminal signals the whole group at once, and Redis
   would be gone before the workers had settled. The supervisor alone hears it and stops by stages.
5. The child drops handlers, signal pipe and the lifeline's write end, and unblocks. The write end
   matters most: a child that kept it would keep its siblings' lifelines open after our death.
6. `run()` is called, or the foreign program executed. Either way the child ends here, in `os._exit`:
   the parent's `finally` clauses and atexit functions on the stack above are not the child's to run.

The `random` module needs no help: since Python 3.7 it seeds itself anew in a forked child. SIGPIPE
does: Python ignores it, an ignored signal stays ignored through exec, and a foreign program may count
on the default (the same repair as `subprocess` with restore_signals).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NoReturn

from engine.policy.restart import EXIT_CANNOT_EXECUTE, EXIT_CRASHED, EXIT_OK
from engine.supervisor.pulse import ChildContext, PulseBoard
from engine.supervisor.rows import Row
from engine.supervisor.signals import SignalQueue
from runtime.parent_death import die_with_parent


class Nursery:
    """Forks children, and owns what they share: the lifeline, the pulse board, the signal queue."""

    def __init__(self, signals: SignalQueue, board: PulseBoard) -> None:
        self._signals = signals
        self._board = board
        # Python's pipes are close-on-exec, so foreign programs inherit neither end.
        self._lifeline, self._lifeline_held = os.pipe()

    def spawn(self, row: Row, *, slot: int, restarts: int) -> int:
        """Forks one child and gives its pid."""
        self._board.wipe(slot)
        context = ChildContext(
            name=row.name,
            index=row.index,
            restarts=restarts,
            lifeline=self._lifeline,
            board=self._board,
            slot=slot,
        )
        parent_pid = os.getpid()
        _flush()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(row, context, parent_pid, unblocked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return pid

    def close(self) -> None:
        """Lets go of the lifeline: forked children that still live see its end."""
        os.close(self._lifeline)
        os.close(self._lifeline_held)

    def _be_child(
        self, row: Row, context: ChildContext, parent_pid: int, unblocked: Iterable[int]
    ) -> NoReturn:
        code = EXIT_CRASHED
        try:
            os.setpgid(0, 0)
            os.close(self._lifeline_held)
            self._signals.disown()
            # A child in a background process group is stopped by the kernel when it reads from the
            # terminal, and it has nothing to ask there.
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
            if row.run is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
                code = _exit_code_of(row.run, context)
            elif row.argv is not None:
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                die_with_parent(parent_pid)
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
                code = _execute(row.argv)
        except BaseException:
            # nothing may climb into the parent's frames above
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)

    def __repr__(self) -> str:
        return f"<Nursery lifeline={self._lifeline}>"


def _exit_code_of(run: Callable[[ChildContext], int], context: ChildContext) -> int:
    try:
        return int(run(context))
    except SystemExit as leaving:
        # The same reading as the interpreter's own: nothing is 0, text is printed and is 1.
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or EXIT_OK
        print(leaving.code, file=sys.stderr)
        return 1


def _execute(argv: tuple[str, ...]) -> int:
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        print(f"cannot execute {argv[0]}: {error.strerror}", file=sys.stderr)
    return EXIT_CANNOT_EXECUTE


def _flush() -> None:
    for handler in logging.getLogger("clarion.supervisor").handlers + logging.getLogger().handlers:
        handler.flush()
    for stream in (sys.stdout, sys.stderr):
        # A closed or absent stream, or a reader that went away: not a reason not to fork.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def reap(own: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Collects the dead one by one: (pid, exit code), the code negative for a death by signal.

    Lazily, because acting on one death may signal other children: the pid of a child that has died
    but has not been collected still is its own, that of a collected one may be anybody's.

    As PID 1 of a container it collects every child, since the kernel hands orphans to PID 1 and they
    would stay zombies. Otherwise it asks for its `own` pids one by one: a stranger there is a child
    that somebody else in this program started and waits for itself.
    """
    as_init = os.getpid() == 1
    for pid in [-1] if as_init else list(own):
        while True:
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                break
            if found:
                yield found, os.waitstatus_to_exitcode(status)
            if not (found and as_init):
                break
