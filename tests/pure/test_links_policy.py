"""How fast links are opened, as tables."""

import pytest

from engine.policy.links import DialPace, End, LinkOptions, end_of, paced, pick_address

OPTIONS = LinkOptions(steady_s=10)


@pytest.mark.parametrize(
    ("proved", "lived_s", "end"),
    [
        (False, 0.0, End.UNPROVED),
        (False, 10_000.0, End.UNPROVED),
        (True, 0.0, End.SOON),
        (True, 9.9, End.SOON),
        (True, 10.0, End.STEADY),
        (True, 10_000.0, End.STEADY),
    ],
)
def test_how_a_link_ended(proved: bool, lived_s: float, end: End) -> None:
    assert end_of(proved, lived_s, OPTIONS) is end


def test_a_host_is_dialled_in_a_burst_and_then_at_its_pace() -> None:
    options = OPTIONS._replace(dials_burst=3, dials_per_s=2.0)
    pace, dials = DialPace(3, 0.0), []
    for tenth in range(31):
        left = paced(pace, tenth / 10, options)
        if left is not None:
            pace = left
            dials.append(tenth)
    assert dials == [0, 1, 2, 5, 10, 15, 20, 25, 30]


def test_a_host_left_alone_for_long_may_be_dialled_no_oftener_than_the_burst() -> None:
    pace: DialPace | None = DialPace(0, 0.0)
    dials = -1
    while pace is not None:
        pace, dials = paced(pace, 1e6, OPTIONS), dials + 1
    assert dials == OPTIONS.dials_burst


@pytest.mark.parametrize(
    ("links", "shunned", "picked"),
    [
        ({}, (), {0, 1, 2}),
        ({"a": 1}, (), {1, 2}),
        ({"a": 2, "b": 1, "c": 2}, (), {1}),
        ({"a": 2, "b": 1, "c": 2}, ("b",), {0, 2}),
        ({"a": 2, "b": 1, "c": 2}, ("a", "b", "c"), {1}),
        ({"elsewhere": 5}, ("elsewhere",), {0, 1, 2}),
    ],
)
def test_links_are_spread_over_the_addresses_that_work(
    links: dict[str, int], shunned: tuple[str, ...], picked: set[int]
) -> None:
    drawn = {pick_address(["a", "b", "c"], links, shunned, lambda n, at=at: at % n) for at in range(6)}
    assert drawn == picked
