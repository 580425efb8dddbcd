"""The supervisor: forks the children of a table and keeps them alive until it is asked to stop.

Theory of operation. One thread, one loop, no event loop and no Redis client: what keeps the others
alive has to be too simple to fall over, and forking is safe only in a process without threads.

`level` is the highest stage that may run. Booting raises it by one whenever all children of the stage
are ready; stopping asks the children of that stage and lowers it when all of them have gone. A child
is started if its stage is at or under the level, and it is not to be found running above it.

Each turn of the loop, after a sleep that ends with a signal or with the next deadline:

1. reap the dead and ask the restart policy about each that died unasked;
2. act on the signals, by a table;
3. look at pulses, at readiness, at graces that have run out;
4. start who is due;
5. raise or lower the level, or go on with a rolling replacement.

While the upper stages stop, the lower ones are still restarted when they die: workers that drain need
Redis, and under systemd's KillMode=control-group everybody gets SIGTERM in the same moment.

A rolling replacement (SIGHUP) stops one pulsed child, starts it again, and goes to the next when all
pulsed children are ready. The children are forked, so they run the code that this process imported,
with options read anew; new code needs a restart.

When the supervisor itself dies, the kernel tells the children: forked ones by the end of their lifeline
(`pulse.ChildContext`), foreign ones by SIGTERM (`runtime.parent_death`).
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from engine.policy.restart import EXIT_BOOT_FAILED, EXIT_OK, Again, Cause, GiveUp, after_death, cause_of
from engine.supervisor.child import Child, described
from engine.supervisor.fork import Nursery, reap
from engine.supervisor.phase import Phase, Step, advance
from engine.supervisor.pulse import PulseBoard
from engine.supervisor.rows import Row, SupervisorOptions, checked
from engine.supervisor.signals import SignalQueue

log = logging.getLogger("clarion.supervisor")

TURN_S: Final = 1.0  # the longest sleep, and so how late a stale pulse may be noticed
READY_POLL_S: Final = 0.05  # the sleep while some child is not ready yet
HURRY_AFTER_S: Final = 0.05  # from the first signal to the second, when the stop is hurried
# A turn that comes this late means that the whole machine stood still (a suspended VM, SIGSTOP) and
# the children with it: their pulses are old for no fault of theirs and count anew from here.
STANDSTILL_S: Final = 5.0


class Supervisor:
    """Runs the children of `rows`. The clock and the chance can be replaced."""

    def __init__(
        self,
        rows: Sequence[Row],
        options: SupervisorOptions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.phase = Phase.STOPPED
        self._options = options or SupervisorOptions()
        self._clock = clock
        self._chance = chance
        self._children = [Child(row, slot) for slot, row in enumerate(checked(rows))]
        self._stages = sorted({child.row.stage for child in self._children})
        self._level = -1
        self._level_since_s = 0.0
        self._looked_s = self._pulses_count_from_s = 0.0
        self._asked = False
        self._hurried = False
        self._to_roll: list[Child] = []
        self._exit_code = EXIT_OK
        self._verbs: dict[signal.Signals, Callable[[float], None]] = {
            signal.SIGTERM: self._asked_to_stop,
            signal.SIGINT: self._asked_to_stop,
            signal.SIGHUP: self._asked_to_roll,
            signal.SIGCHLD: self._woken,
        }

    def run(self) -> int:
        """Starts all, keeps them alive, and gives the exit code once all have stopped.

        0 after a stop that was asked for, else what `engine.policy.restart` says of a gateway that
        gave up. Main thread only, and there may be no other threads.
        """
        signals = SignalQueue(self._verbs)
        board = PulseBoard(len(self._children))
        signals.open()
        nursery = Nursery(signals, board)
        try:
            self.phase = advance(self.phase, Step.START)
            self._looked_s = self._clock()
            self._raise_level(self._looked_s)
            while self.phase is not Phase.STOPPED:
                self._turn(signals.wait(self._sleep_s()), nursery, board)
        except BaseException:
            self._abandon()
            raise
        finally:
            nursery.close()
            board.close()
            signals.close()
        log.info("all children have stopped")
        return self._exit_code

    def _turn(self, numbers: list[signal.Signals], nursery: Nursery, board: PulseBoard) -> None:
        now_s = self._clock()
        by_pid = {child.pid: child for child in self._children if child.alive}
        for pid, exit_code in reap(by_pid):
            if pid in by_pid:
                self._on_exit(by_pid[pid], exit_code, now_s)
        for number in numbers:
            self._verbs[number](now_s)
        self._look_at_children(board, now_s)
        self._start_due(nursery, now_s)
        self._move_level(now_s)
        self._roll_on(now_s)

    def _sleep_s(self) -> float:
        now_s = self._clock()
        waits = [TURN_S]
        for child in self._children:
            if child.phase is Phase.STARTING:
                waits.append(READY_POLL_S)
            elif child.phase is Phase.WAITING:
                waits.append(child.due_s - now_s)
            elif child.phase is Phase.STOPPING:
                # Killed already means waiting for the SIGCHLD, not for a deadline in the past.
                waits.append(child.kill_at_s - now_s if child.kill_at_s > now_s else TURN_S)
                if self._hurried and not child.hurried:
                    waits.append(HURRY_AFTER_S)
            elif child.phase is Phase.STOPPED and self._may_start(child):
                waits.append(0.0)
        return max(0.0, min(waits))

    # 1. The dead.

    def _on_exit(self, child: Child, exit_code: int, now_s: float) -> None:
        asked = child.phase is Phase.STOPPING
        log.log(
            logging.INFO if asked else logging.WARNING,
            "%s (pid %d) %s",
            child.row.name,
            child.pid,
            described(exit_code),
        )
        if asked:
            child.bury()
        else:
            self._on_death(child, cause_of(exit_code, foreign=child.row.foreign), now_s)

    def _on_death(self, child: Child, cause: Cause, now_s: float) -> None:
        decision = after_death(
            child.row.name,
            cause,
            child.deaths,
            lived_s=now_s - child.started_s,
            now_s=now_s,
            chance=self._chance(),
            options=self._options.restart,
        )
        match decision:
            case Again(delay_s=delay_s, deaths=deaths):
                log.warning("%s %s; restarting in %.2f s", child.row.name, cause.value, delay_s)
                child.await_restart(now_s + delay_s, deaths)
            case GiveUp(exit_code=code, reason=reason):
                child.bury()
                self._give_up(code, reason, now_s)
            case _:
                assert_never(decision)

    def _give_up(self, exit_code: int, reason: str, now_s: float) -> None:
        log.error("giving up: %s", reason)
        # The first reason is the cause; what falls over during the stop is its consequence.
        self._exit_code = self._exit_code or exit_code
        self._begin_stop(now_s)

    # 2. The signals.

    def _asked_to_stop(self, now_s: float) -> None:
        if not self._asked:
            self._asked = True
            log.info("asked to stop")
            self._begin_stop(now_s)
            return
        if not self._hurried:
            self._hurried = True
            log.warning("asked to stop again: %g s for each stage", self._options.hurry_s)

    def _asked_to_roll(self, now_s: float) -> None:
        if self.phase is not Phase.RUNNING:
            log.warning("not rolling: the gateway is %s", self.phase.value)
            return
        self._to_roll = [child for child in self._children if child.row.pulsed]
        log.info("rolling %d children", len(self._to_roll))

    def _woken(self, now_s: float) -> None:
        """SIGCHLD only ends the sleep: every turn reaps, whether or not its byte came through."""

    # 3. The living.

    def _look_at_children(self, board: PulseBoard, now_s: float) -> None:
        if now_s - self._looked_s > STANDSTILL_S:
            log.warning("stood still for %.0f s; pulses count anew", now_s - self._looked_s)
            self._pulses_count_from_s = now_s
        for child in self._children:
            if child.phase is Phase.STARTING:
                child.look_ready(board, now_s)
            if child.row.pulsed and child.phase in (Phase.STARTING, Phase.RUNNING):
                # Booting may take as long as the row allows; pulses are expected once there was one.
                timeout_s = self._options.pulse_timeout_s
                if not child.has_pulsed(board):
                    timeout_s = max(timeout_s, child.row.ready_s)
                silent_s = child.silent_s(board, now_s, self._pulses_count_from_s)
                if silent_s > timeout_s:
                    child.kill(f"no pulse for {silent_s:.1f} s")
            elif child.phase is Phase.STOPPING:
                # Not in one turn with the first signal: two of a number that wait together come as one.
                if self._hurried and now_s >= child.asked_s + HURRY_AFTER_S:
                    child.hurry(now_s, self._options.hurry_s)
                if now_s >= child.kill_at_s:
                    child.kill("its grace is over")
        # Taken now, not at the turn's beginning, so that a slow ready() is no standstill.
        self._looked_s = self._clock()

    # 4. Who is due.

    def _may_start(self, child: Child) -> bool:
        if self._stages.index(child.row.stage) > self._level:
            return False
        return child.phase is Phase.WAITING or self.phase in (Phase.STARTING, Phase.RUNNING)

    def _start_due(self, nursery: Nursery, now_s: float) -> None:
        for child in self._children:
            due = child.phase is Phase.STOPPED or (child.phase is Phase.WAITING and child.due_s <= now_s)
            if due and self._may_start(child) and not child.start(nursery, now_s):
                self._on_death(child, Cause.CRASHED, now_s)

    # 5. The level.

    def _at_level(self) -> list[Child]:
        return [child for child in self._children if child.row.stage == self._stages[self._level]]

    def _raise_level(self, now_s: float) -> None:
        self._level += 1
        self._level_since_s = now_s

    def _move_level(self, now_s: float) -> None:
        if self.phase is Phase.STARTING:
            self._climb(now_s)
        if self.phase is Phase.STOPPING:
            self._descend(now_s)

    def _climb(self, now_s: float) -> None:
        unready = [child for child in self._at_level() if child.phase is not Phase.RUNNING]
        if not unready and self._level + 1 < len(self._stages):
            self._raise_level(now_s)
        elif not unready:
            self.phase = advance(self.phase, Step.READY)
            log.info("all %d children are running", len(self._children))
        for child in unready:
            # Counted from the stage's beginning, so that a child which keeps dying gains no time.
            if now_s - self._level_since_s > child.row.ready_s:
                reason = f"{child.row.name} was not ready within {child.row.ready_s:g} s"
                self._give_up(EXIT_BOOT_FAILED, reason, now_s)
                return

    def _begin_stop(self, now_s: float) -> None:
        if self.phase is not Phase.STOPPING:
            self.phase = advance(self.phase, Step.STOP)
            self._to_roll = []
            self._ask_level(now_s)

    def _ask_level(self, now_s: float) -> None:
        for child in self._at_level():
            child.ask_stop(now_s, self._options.hurry_s if self._hurried else child.row.grace_s)

    def _descend(self, now_s: float) -> None:
        while all(child.phase is Phase.STOPPED for child in self._at_level()):
            self._level -= 1
            if self._level < 0:
                self.phase = advance(self.phase, Step.GONE)
                return
            self._ask_level(now_s)

    def _roll_on(self, now_s: float) -> None:
        pulsed = [child for child in self._children if child.row.pulsed]
        if self._to_roll and all(child.phase is Phase.RUNNING for child in pulsed):
            child = self._to_roll.pop(0)
            child.ask_stop(now_s, child.row.grace_s)

    def _abandon(self) -> None:
        """A fault of ours: asks all at once, since nobody is left who could do it by stages."""
        for child in self._children:
            if child.alive:
                os.kill(child.pid, child.row.stop_signal)

    def __repr__(self) -> str:
        return f"<Supervisor {self.phase.name} level {self._level} {' '.join(map(repr, self._children))}>"
