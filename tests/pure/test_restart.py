"""The restart policy as tables."""

from __future__ import annotations

import pytest

from engine.policy.restart import (
    EXIT_BOOT_FAILED,
    EXIT_GAVE_UP,
    Again,
    Cause,
    Deaths,
    GiveUp,
    RestartOptions,
    after_death,
    cause_of,
    longest_wait_s,
)

OPTIONS = RestartOptions(first_delay_s=1.0, longest_delay_s=5.0, limit=3, window_s=100.0, steady_s=60.0)


def decide(
    at_s: tuple[float, ...] = (),
    *,
    cause: Cause = Cause.CRASHED,
    lived_s: float = 1.0,
    now_s: float = 1000.0,
    chance: float = 0.5,
) -> Again | GiveUp:
    return after_death(
        "worker-0", cause, Deaths(at_s), lived_s=lived_s, now_s=now_s, chance=chance, options=OPTIONS
    )


@pytest.mark.parametrize(
    ("exit_code", "foreign", "cause"),
    [
        (0, False, Cause.LEFT),
        (0, True, Cause.LEFT),
        (1, False, Cause.CRASHED),
        (3, False, Cause.BOOT_FAILED),
        (3, True, Cause.CRASHED),
        (70, False, Cause.CRASHED),
        (127, True, Cause.BOOT_FAILED),
        (127, False, Cause.CRASHED),
        (-9, False, Cause.CRASHED),
        (-15, True, Cause.CRASHED),
    ],
)
def test_an_exit_code_has_one_cause(exit_code: int, foreign: bool, cause: Cause) -> None:
    assert cause_of(exit_code, foreign=foreign) is cause


@pytest.mark.parametrize(("deaths", "bound_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5000, 5.0)])
def test_the_bound_doubles_and_then_stays(deaths: int, bound_s: float) -> None:
    assert longest_wait_s(deaths, OPTIONS) == bound_s


@pytest.mark.parametrize(
    ("earlier", "chance", "delay_s"),
    [
        ((), 0.0, 0.0),
        ((), 0.5, 0.5),
        ((999.0,), 0.5, 1.0),
        ((998.0, 999.0), 0.5, 2.0),
        ((998.0, 999.0), 0.25, 1.0),
    ],
)
def test_the_delay_is_drawn_from_the_whole_bound(
    earlier: tuple[float, ...], chance: float, delay_s: float
) -> None:
    assert decide(earlier, chance=chance) == Again(delay_s, Deaths((*earlier, 1000.0)))


def test_one_death_more_than_the_limit_gives_up() -> None:
    assert decide((997.0, 998.0, 999.0)) == GiveUp(
        EXIT_GAVE_UP, "worker-0 died 4 times within 100 s; restarting does not help"
    )


def test_deaths_before_the_window_are_forgotten() -> None:
    assert decide((900.0, 900.5, 999.0), chance=0.25) == Again(1.0, Deaths((900.5, 999.0, 1000.0)))


@pytest.mark.parametrize(("lived_s", "remembered"), [(59.9, 3), (60.0, 1), (1e6, 1)])
def test_a_long_life_starts_with_a_clean_sheet(lived_s: float, remembered: int) -> None:
    decision = decide((998.0, 999.0), lived_s=lived_s)
    assert isinstance(decision, Again)
    assert len(decision.deaths.at_s) == remembered


@pytest.mark.parametrize("cause", [Cause.CRASHED, Cause.LEFT])
def test_leaving_unasked_is_as_bad_as_crashing(cause: Cause) -> None:
    assert decide((999.0,), cause=cause) == Again(1.0, Deaths((999.0, 1000.0)))


def test_a_boot_failure_gives_up_at_once() -> None:
    decision = decide(cause=Cause.BOOT_FAILED, lived_s=1e6)
    assert decision == GiveUp(EXIT_BOOT_FAILED, "worker-0 could not boot; its own last line says why")


def test_a_limit_of_nothing_never_restarts() -> None:
    options = RestartOptions(limit=0)
    decision = after_death(
        "worker-0", Cause.CRASHED, Deaths(), lived_s=1.0, now_s=0.0, chance=0.0, options=options
    )
    assert isinstance(decision, GiveUp)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"first_delay_s": -1.0}, "0 <= first_delay_s"),
        ({"first_delay_s": 2.0, "longest_delay_s": 1.0}, "0 <= first_delay_s"),
        ({"limit": -1}, "0 \\(never restart\\) or more"),
        ({"limit": 100}, "does not fit in window_s=120"),
    ],
)
def test_options_that_mean_nothing_are_refused(bad: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RestartOptions(**bad)  # type: ignore[arg-type]


def test_the_default_limit_can_be_reached_by_a_child_that_dies_at_once() -> None:
    deaths, now_s, lives = Deaths(), 0.0, 0
    while True:
        lives += 1
        decision = after_death(
            "worker-0",
            Cause.CRASHED,
            deaths,
            lived_s=1.0,
            now_s=now_s,
            chance=0.999,
            options=RestartOptions(),
        )
        if isinstance(decision, GiveUp):
            break
        now_s, deaths = now_s + 1.0 + decision.delay_s, decision.deaths
    assert lives == RestartOptions().limit + 1
