"""What is said of loads through the whole gateway, and what of that is a fault."""

from typing import Any

import pytest

from loadtest.bench.e2e_verdict import Phase, Plan, failures, told
from loadtest.bench.judgement import judge
from loadtest.bench.steady import Exchange
from loadtest.bench.waits import Span
from loadtest.sink.recorder import Piece

IDS = [b"%036d" % number for number in range(4)]
SENT = [Exchange(100.0, 100.1, "accepted", 4, b"".join(IDS))]
CAME = [Piece(100.2, 1, IDS)]
PLAN = Plan("full", 1_000, 500, 10.0, mean_most_ms=15.0, p99_most_ms=100.0)


def phase(**changes: Any) -> Phase:
    """Ten seconds in which all was well."""
    given: dict[str, Any] = {
        "plan": PLAN,
        "span": Span(100.0, 110.0),
        "waits_s": [0.01] * 99 + [0.02],
        "accepted": 10_000,
        "depths": [5, 9, 7] * 3,
        "cpu_s": {"worker-0": 0.05, "redis": 0.02},
    }
    return Phase(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"accepted": 9_949}, ["full: 995 a second came of 1000"]),
        ({"waits_s": [0.016]}, ["full: 16.0 ms on average, and 15.0 are the most"]),
        ({"waits_s": [0.001] * 98 + [0.11] * 2}, ["full: 110.0 ms at p99, and 100.0 are the most"]),
        ({"depths": [0] * 6 + [100] * 3}, []),
        ({"depths": [0] * 6 + [101] * 3}, ["full: the queue became deeper by 101 jobs"]),
        ({"plan": PLAN._replace(mean_most_ms=None, p99_most_ms=None), "waits_s": [9.0]}, []),
    ],
)
def test_what_a_load_misses_is_named(changes: dict[str, Any], wrong: list[str]) -> None:
    assert failures(judge(SENT, CAME), [phase(**changes)], survived=True) == wrong


def test_a_push_that_does_not_come_or_comes_twice_is_a_fault_of_the_run() -> None:
    lost = failures(judge(SENT, [Piece(100.2, 1, IDS[:3])]), [phase()], survived=True)
    assert lost == ["1 pushes that the API accepted did not come"]
    again = failures(judge(SENT, [*CAME, Piece(100.3, 1, IDS[:1])]), [phase()], survived=False)
    assert again == ["1 pushes came again", "a process of the gateway ended by itself"]
    unsent = failures(judge([*SENT, Exchange(100.0, 100.1, "unsent", 7)], CAME), [phase()], survived=True)
    assert unsent == ["7 pushes were not taken"]


def test_the_result_says_the_first_load_and_each_of_them() -> None:
    said = told(judge(SENT, CAME), [phase(), phase(plan=PLAN._replace(name="half"))])
    assert (said["pushes_per_s"], said["mean_ms"], said["p50_ms"], said["p99_ms"]) == (
        1_000,
        10.1,
        10.0,
        10.0,
    )
    assert (said["lost"], said["repeated"], list(said["phases"])) == (0, 0, ["full", "half"])
    assert said["phases"]["full"]["us_per_push"] == {"worker-0": 5.0, "redis": 2.0}
