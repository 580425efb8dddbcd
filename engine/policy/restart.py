"""What to do about a child that has died: start it again after a delay, or give up.

Pure: the time and the chance are arguments.

- *It cannot boot.* A child of ours says so with exit code 3, after it has printed its one line of
  reason; a foreign program that cannot be executed at all shows as 127, as in a shell. Another try
  would print the same line again, so the whole gateway stops at once.
- *It crashed*, or it left without having been asked, which is as bad: it is started again after an
  exponential delay with full jitter, that is, evenly drawn between zero and the bound. Children that
  died of one cause (Redis went away) would otherwise come back in one step and strike together.
  Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
- *It keeps crashing*: after more than `limit` deaths within `window_s` restarting has shown that it
  does not help, so the gateway gives up with a line that says so, and whoever supervises the
  supervisor (systemd, a container runtime, a person) learns of it.
- *It had been well for long*: a child that lived for `steady_s` starts with a clean sheet, so one
  death a day never adds up to anything.
"""

from __future__ import annotations

import enum

import msgspec

from engine.policy.backoff import doubled_s

# The codes leave room for a service unit to tell them apart: 3 is not worth another try
# (RestartPreventExitStatus=3), the others may be.
EXIT_OK = 0
EXIT_BOOT_FAILED = 3
EXIT_CRASHED = 70  # EX_SOFTWARE of sysexits.h: an exception that nobody caught
EXIT_GAVE_UP = 75  # EX_TEMPFAIL of sysexits.h: restarting did not help
EXIT_CANNOT_EXECUTE = 127  # what shells say of a program that they could not execute


class RestartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how fast. Raises ValueError for options under which the limit means nothing."""

    first_delay_s: float = 0.25
    longest_delay_s: float = 15.0
    limit: int = 6
    window_s: float = 120.0
    steady_s: float = 60.0

    def __post_init__(self) -> None:
        if self.first_delay_s < 0 or self.longest_delay_s < self.first_delay_s:
            raise ValueError("restart delays: write 0 <= first_delay_s <= longest_delay_s")
        if self.limit < 0:
            raise ValueError("restart limit: write 0 (never restart) or more")
        # Deaths older than the window are forgotten. If the delays alone filled the window, the
        # limit could never be reached and a crash loop would run for ever.
        slowest = sum(longest_wait_s(deaths, self) for deaths in range(1, self.limit + 1))
        if slowest >= self.window_s:
            raise ValueError(
                f"restart window: {self.limit} delays may take {slowest:g} s, which does not fit in "
                f"window_s={self.window_s:g}; write a longer window or shorter delays"
            )


class Cause(enum.Enum):
    """How a child ended that nobody had asked to stop."""

    BOOT_FAILED = "could not boot"
    CRASHED = "crashed"
    LEFT = "left unasked"


class Deaths(msgspec.Struct, frozen=True):
    """When (monotonic seconds) a child has died of late, oldest first."""

    at_s: tuple[float, ...] = ()


class Again(msgspec.Struct, frozen=True):
    """Start it again `delay_s` from now, and remember `deaths`."""

    delay_s: float
    deaths: Deaths


class GiveUp(msgspec.Struct, frozen=True):
    """Stop the whole gateway; `reason` is one line for the log."""

    exit_code: int
    reason: str


def cause_of(exit_code: int, *, foreign: bool) -> Cause:
    """Reads an exit code as `os.waitstatus_to_exitcode` gives it: negative means killed by a signal.

    Code 3 is our own children's word. In a foreign program's mouth it means whatever its authors
    chose, and only 127, which its child-to-be says before it becomes that program, is known.
    """
    if exit_code == (EXIT_CANNOT_EXECUTE if foreign else EXIT_BOOT_FAILED):
        return Cause.BOOT_FAILED
    return Cause.LEFT if exit_code == EXIT_OK else Cause.CRASHED


def longest_wait_s(deaths: int, options: RestartOptions) -> float:
    """The bound of the delay after that many recent deaths: doubles, then stays."""
    return doubled_s(deaths - 1, options.first_delay_s, options.longest_delay_s)


def after_death(
    name: str,
    cause: Cause,
    deaths: Deaths,
    *,
    lived_s: float,
    now_s: float,
    chance: float,
    options: RestartOptions,
) -> Again | GiveUp:
    """Decides about a child that has just died unasked. `chance` is drawn evenly from [0, 1)."""
    if cause is Cause.BOOT_FAILED:
        return GiveUp(EXIT_BOOT_FAILED, f"{name} could not boot; its own last line says why")
    earlier = () if lived_s >= options.steady_s else deaths.at_s
    recent = (*(at_s for at_s in earlier if now_s - at_s < options.window_s), now_s)
    if len(recent) > options.limit:
        return GiveUp(
            EXIT_GAVE_UP,
            f"{name} died {len(recent)} times within {options.window_s:g} s; restarting does not help",
        )
    return Again(chance * longest_wait_s(len(recent), options), Deaths(recent))
