"""The verdict on campaigns: rounds are compared in turn, and each mark that is missed is named."""

import pytest

from loadtest.bench.campaign_verdict import Kind, compared, failures, told
from loadtest.bench.tenants_verdict import Drain


def kind(seconds: tuple[float, ...], bytes_per_job: float, came: int | None = None) -> Kind:
    sent = 1000 * len(seconds)
    drains = [Drain(1000, each, 0.006, 0.002, 0.004) for each in seconds]
    return Kind(drains, [bytes_per_job] * len(seconds), sent, sent if came is None else came)


SINGLE = kind((2.0, 4.0, 3.0), 400.0)


@pytest.mark.parametrize(
    ("campaign", "words"),
    [
        (kind((1.0, 2.0, 1.5), 100.0), []),
        # the machine was slow in the second round, for both
        (kind((1.4, 2.8, 2.1), 120.0), []),
        (kind((1.6, 3.2, 2.4), 100.0), ["1.25 times the rate"]),
        (kind((1.0, 2.0, 1.5), 140.0), ["0.35 times the memory"]),
        (kind((1.0, 2.0, 1.5), 100.0, 2999), ["2999 pushes came of 3000"]),
        (kind((1.0, 2.0, 1.5), 100.0, 3001), ["3001 pushes came of 3000"]),
        (kind((2.0, 4.0, 3.0), 400.0, 0), ["0 pushes", "1.00 times the rate", "1.00 times the memory"]),
    ],
)
def test_what_misses_the_mark_is_named(campaign: Kind, words: list[str]) -> None:
    found = failures(SINGLE, campaign)
    assert len(found) == len(words)
    assert all(word in said for word, said in zip(words, found, strict=True))


def test_a_round_is_compared_with_the_one_beside_it() -> None:
    # by the medians alone it would be 1.0
    assert compared(SINGLE, kind((3.0, 2.0, 1.5), 100.0)) == {"rate_times": 2.0, "memory_times": 0.25}


def test_a_kind_is_told_by_the_medians_of_its_drains() -> None:
    assert told(kind((2.0, 4.0, 5.0), 400.04, 2990)) == {
        "pushes_per_s": 250,
        "engine_us_per_push": 6.0,
        "redis_us_per_push": 2.0,
        "sink_us_per_push": 4.0,
        "redis_bytes_per_job": 400.0,
        "drains": 3,
        "lost": 10,
        "repeated": 0,
    }
