"""The verdict beside other ways of sending: medians, Clarion's ratio to each, what is not enough."""

import pytest

from loadtest.bench.peers_verdict import CLARION, Facts, Round, clarion_times, failures, middle, told


def at(*rates: float, lost: int = 0) -> list[Round]:
    """Rounds at these rates."""
    return [Round(rate, 10.0, 5.0, lost=lost) for rate in rates]


# each but httpx stands right at what is demanded
JUST_ENOUGH = {
    CLARION: at(120_000.0),
    "go-gateway": at(30_000.0),
    "node-apn": at(30_000.0),
    "aioapns": at(8_000.0),
    "httpx": at(2_000.0),
    "h2": at(10_000.0),
    "h2load": at(200_000.0),
}


@pytest.mark.parametrize(
    ("rates", "median"), [((5.0,), 5.0), ((9.0, 1.0, 4.0), 4.0), ((4.0, 1.0, 9.0, 6.0), 5.0)]
)
def test_one_round_that_stands_out_moves_nothing(rates: tuple[float, ...], median: float) -> None:
    assert middle(at(*rates)).pushes_per_s == median


def test_each_figure_has_its_own_median_and_the_worst_loss_is_told() -> None:
    rounds = [Round(1.0, 30.0, 7.0, 3.0, 0), Round(2.0, 10.0, 9.0, 1.0, 5), Round(3.0, 20.0, 8.0, 2.0, 1)]
    assert middle(rounds) == Round(2.0, 20.0, 8.0, 2.0, 5)


def test_without_a_queue_there_is_no_cost_of_redis() -> None:
    assert middle(at(1.0, 2.0)).redis_us_per_push is None


@pytest.mark.parametrize(
    ("peer", "times"), [("go-gateway", 4.0), ("h2", 12.0), ("h2load", 0.6), (CLARION, 1.0), ("absent", None)]
)
def test_clarions_rate_is_divided_by_the_peers(peer: str, times: float | None) -> None:
    assert clarion_times(peer, JUST_ENOUGH) == times


def test_without_clarion_there_is_no_ratio() -> None:
    assert clarion_times("h2", {"h2": at(1.0)}) is None
    assert clarion_times("h2", {"h2": at(1.0), CLARION: []}) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"go-gateway": at(30_010.0)}, ["clarion has 4.00 times the rate of go-gateway; 4.0 are the least"]),
        ({"node-apn": at(40_000.0)}, ["clarion has 3.00 times the rate of node-apn; 4.0 are the least"]),
        ({"h2": at(12_000.0)}, ["clarion has 10.00 times the rate of h2; 12.0 are the least"]),
        ({"h2load": at(240_000.0)}, ["clarion has 0.50 times the rate of h2load; 0.6 are the least"]),
        # how fast these two are is told and not judged
        ({"aioapns": at(99_000.0), "httpx": at(99_000.0)}, []),
        # what is absent was not measured, and fails nothing
        ({"h2": [], "h2load": []}, []),
        ({CLARION: []}, []),
        ({CLARION: at(120_000.0, lost=3)}, ["clarion lost 3 pushes"]),
        ({"h2": at(10_000.0, lost=3)}, []),
    ],
)
def test_what_misses_is_said(changed: dict[str, list[Round]], words: list[str]) -> None:
    assert failures({**JUST_ENOUGH, **changed}, {}) == words


def test_clarion_has_a_rate_to_reach_whoever_else_was_measured() -> None:
    assert failures({CLARION: at(80_000.0)}, {}) == []
    assert failures({CLARION: at(79_999.0)}, {}) == ["clarion sends 79999 a second; 80000 are the least"]


def test_a_peer_that_broke_down_is_said() -> None:
    assert failures({**JUST_ENOUGH, "httpx": []}, {"httpx": "ended with code 1"}) == [
        "httpx: ended with code 1"
    ]


def test_every_peer_is_told_with_its_version_and_settings() -> None:
    rounds = {
        CLARION: [Round(100.4, 5.123, 4.0, 1.5)],
        "h2": [Round(10.0, 120.0, 6.0, None, 2)],
        "httpx": list[Round](),
    }
    facts = {name: Facts("1.0", {"processes": 2}) for name in rounds}
    assert told(rounds, facts) == {
        CLARION: {
            "pushes_per_s": 100,
            "us_per_push": 5.12,
            "sink_us_per_push": 4.0,
            "redis_us_per_push": 1.5,
            "clarion_times": 1.0,
            "lost": 0,
            "version": "1.0",
            "settings": {"processes": 2},
            "rounds_per_s": [100],
        },
        "h2": {
            "pushes_per_s": 10,
            "us_per_push": 120.0,
            "sink_us_per_push": 6.0,
            "clarion_times": 10.04,
            "lost": 2,
            "version": "1.0",
            "settings": {"processes": 2},
            "rounds_per_s": [10],
        },
    }
