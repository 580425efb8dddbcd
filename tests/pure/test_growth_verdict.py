"""Whether a push costs the same however many wait, from the drains of each size."""

import pytest

from loadtest.bench.growth_verdict import Point, cost, failures, told
from loadtest.bench.tenants_verdict import Drain

MIB = 2**20


def point(size: int, *engine_us: float, rss: int = 60, came: int = 1_000) -> Point:
    """One drain of 1,000 jobs for each cost; Redis takes 2 µs and the sink 3."""
    drains = [Drain(1_000, 0.01, us / 1000, 0.002, 0.003) for us in engine_us]
    return Point(size, drains, 1_000, came, [rss * MIB, MIB], 8 * MIB)


def test_a_cost_is_the_median_of_the_drains() -> None:
    found = cost(point(1, 5.0, 6.0, 99.0))
    assert (found.engine, found.redis, found.sink) == pytest.approx((6.0, 2.0, 3.0))
    assert found.own == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("backlogs", "wrong"),
    [
        ([], []),
        ([point(1, 8.0)], []),
        ([point(1, 8.0), point(2, 9.4), point(3, 6.6)], []),
        ([point(1, 8.0), point(2, 9.6)], ["with a backlog of 2 a push costs +16%, and 15% are the most"]),
        ([point(1, 8.0), point(2, 6.4)], ["with a backlog of 2 a push costs -16%, and 15% are the most"]),
        (
            [point(1, 8.0), point(2, 8.0, rss=76)],
            ["a worker's memory is 1.27 times as large after the largest backlog"],
        ),
        ([point(1, 8.0, came=999)], ["999 pushes came of 1000"]),
    ],
)
def test_backlogs_must_cost_alike(backlogs: list[Point], wrong: list[str]) -> None:
    assert failures(backlogs, []) == wrong


def test_tenants_may_cost_half_as_much_again() -> None:
    assert failures([], [point(1, 8.0), point(10, 12.9, rss=200)]) == []
    assert failures([], [point(1, 8.0), point(10, 8.0), point(100, 13.5)]) == [
        "with 100 tenants a push costs 1.55 times as much, and 1.5 are the most"
    ]


def test_the_result_says_each_size_beside_the_first() -> None:
    said = told([point(1, 8.0), point(10, 13.0)])
    assert [each["times_the_first"] for each in said] == [1.0, 1.5]
    assert (said[0]["pushes_per_s"], said[0]["worker_rss_mib"], said[0]["redis_mib"]) == (100_000, 60.0, 8.0)
