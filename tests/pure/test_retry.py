"""When a job is tried again, and when no more, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.policy.backoff import backoff_s
from engine.policy.retry import GiveUp, RetryOptions, WaitUntil, retry

NOW_MS = 1_700_000_000_000
NOW_S = NOW_MS // 1000
OPTIONS = RetryOptions(first_s=1.0, most_s=900.0, attempts_most=12)


def decide(
    attempts: int = 1, *, expiration: int = -1, chance: float = 1.0, reason: str = "Shutdown"
) -> WaitUntil | GiveUp:
    return retry(attempts, expiration, reason, NOW_MS, chance, OPTIONS)


@pytest.mark.parametrize(
    ("attempts", "chance", "delay_s"),
    [(1, 0.0, 0), (1, 0.5, 0.5), (1, 1.0, 1), (2, 1.0, 2), (3, 0.25, 1), (10, 1.0, 512), (11, 1.0, 900)],
)
def test_the_bound_of_the_delay_doubles_and_chance_draws_below_it(
    attempts: int, chance: float, delay_s: float
) -> None:
    assert decide(attempts, chance=chance) == WaitUntil(NOW_MS + int(1000 * delay_s))


@pytest.mark.parametrize("attempts", [12, 13, 1000])
def test_a_job_is_given_up_after_so_many_attempts_with_its_last_reason(attempts: int) -> None:
    assert decide(attempts) == GiveUp("Exhausted: Shutdown")


@pytest.mark.parametrize(
    ("expiration", "decision"),
    [
        (-1, WaitUntil(NOW_MS + 1000)),
        (0, WaitUntil(NOW_MS + 1000)),
        (1, GiveUp("Expired: Shutdown")),
        (NOW_S, GiveUp("Expired: Shutdown")),
        (NOW_S + 1, GiveUp("Expired: Shutdown")),
        (NOW_S + 2, WaitUntil(NOW_MS + 1000)),
    ],
)
def test_no_retry_is_made_that_could_only_come_too_late(
    expiration: int, decision: WaitUntil | GiveUp
) -> None:
    assert decide(expiration=expiration) == decision


@pytest.mark.parametrize(
    ("attempts", "chance", "delay_s"),
    [(1, 1.0, 5), (1, 0.5, 2.5), (3, 1.0, 20), (7, 1.0, 300), (11, 1.0, 300)],
)
def test_a_device_has_a_schedule_of_its_own(attempts: int, chance: float, delay_s: float) -> None:
    decision = retry(attempts, -1, "TooManyRequests", NOW_MS, chance, OPTIONS, device=True)
    assert decision == WaitUntil(NOW_MS + int(1000 * delay_s))
    assert retry(12, -1, "TooManyRequests", NOW_MS, 1.0, OPTIONS, device=True) == GiveUp(
        "Exhausted: TooManyRequests"
    )


def test_an_exhausted_job_is_not_called_expired() -> None:
    assert decide(12, expiration=1) == GiveUp("Exhausted: Shutdown")


@given(attempt=st.integers(0, 10_000), chance=st.floats(0, 1), first_s=st.floats(0.001, 60))
def test_a_delay_is_never_negative_nor_above_the_most(attempt: int, chance: float, first_s: float) -> None:
    delay_s = backoff_s(attempt, first_s, 60.0, chance)
    assert 0 <= delay_s <= 60
    assert delay_s <= backoff_s(attempt + 1, first_s, 60.0, chance)
