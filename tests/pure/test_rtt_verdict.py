"""How much of what windows allow was used, and what of that is a fault."""

from typing import Any

import pytest

from loadtest.bench.rtt_verdict import RETURNED_BYTES, Case, Look, failures, told, use


def case(per_s: float, *, links: int = 2, worked: float = 0.5, **changes: Any) -> Case:
    """Ten seconds at this rate on two CPUs, of which so many work; the first half is for the links to grow."""
    looks = [Look(float(at), int(per_s * at), links if at >= 5 else 1, worked * at) for at in range(11)]
    given: dict[str, Any] = {"rtt_ms": 100.0, "payload_bytes": 256, "jobs": 10_000, "came": 10_000}
    return Case(**{**given, "first_s": 5.0, "looks": looks, "cpus": 2, **changes})


def test_a_link_is_allowed_one_half_of_its_window_for_each_round_trip() -> None:
    assert case(1.0).allowed_per_s == RETURNED_BYTES / 256 / 0.1
    assert case(1.0, rtt_ms=0.0).allowed_per_s == float("inf")


def test_only_what_comes_after_the_links_have_grown_counts() -> None:
    found = use(case(2_560.0))
    assert (found.per_s, found.links, found.share, found.busy) == (2_560.0, 2.0, 1.0, 0.25)
    # half of a short run, if its end comes before that
    assert use(case(2_560.0, first_s=60.0)).links == 2.0
    with pytest.raises(ValueError, match="too few"):
        use(case(1.0, looks=[Look(0.0, 1, 1, 0.0)]))


@pytest.mark.parametrize(
    ("judged", "wrong"),
    [
        (case(2_560.0), []),
        (case(0.86 * 2_560), []),
        (case(0.84 * 2_560), ["100 ms, 256 bytes: 0.84 of what the windows allow, and 0.85 are the least"]),
        # the CPUs are what binds
        (case(0.5 * 2_560, worked=1.9), []),
        # without a way there is nothing to use up
        (case(10.0, rtt_ms=0.0), []),
        (case(2_560.0, came=9_999), ["100 ms, 256 bytes: 9999 pushes came of 10000"]),
        (case(2_560.0, came=10_001), ["100 ms, 256 bytes: 10001 pushes came of 10000"]),
    ],
)
def test_what_is_a_fault(judged: Case, wrong: list[str]) -> None:
    assert failures([judged], {}) == wrong


def test_a_rate_may_be_wanted() -> None:
    assert failures([case(2_560.0)], {(100.0, 256): 2_560.0}) == []
    assert failures([case(2_560.0)], {(100.0, 256): 3_000.0}) == [
        "100 ms, 256 bytes: 2560 a second, and 3000 are the least"
    ]
    assert told([case(2_560.0, came=9_998)])[0]["lost"] == 2
