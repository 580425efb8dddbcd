"""How many links a pool has, as tables."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.policy.growth import Failures, PoolFacts, spare, wants_link
from engine.policy.links import LinkOptions

OPTIONS = LinkOptions(most=3, full_s=0.05, apart_s=0.25, spare_s=120.0)
FULL = PoolFacts(
    waiting=10, links=1, opening=0, full_for_s=1.0, since_opening_s=1.0, trip_s=0.1, lately_s=0.105
)


@pytest.mark.parametrize(
    ("facts", "wants"),
    [
        ({}, True),
        ({"waiting": 0}, False),
        ({"opening": 1}, False),
        ({"links": 2}, True),
        ({"links": 3}, False),
        ({"links": 4}, False),
        ({"full_for_s": 0.049}, False),
        ({"full_for_s": 0.05}, True),
        ({"since_opening_s": 0.249}, False),
        ({"since_opening_s": 0.25}, True),
        ({"links": 0}, True),
        ({"links": 0, "full_for_s": 0.0}, True),
        ({"links": 0, "since_opening_s": float("inf")}, True),
        ({"links": 0, "opening": 1}, False),
        ({"links": 0, "waiting": 0}, False),
        # a link that is lost as soon as it is opened is not replaced at once either
        ({"links": 0, "since_opening_s": 0.1}, False),
        # answers come late, so it is not for want of windows or streams that the links are full
        ({"lately_s": 0.111}, True),
        ({"lately_s": 0.113}, False),
        ({"trip_s": 0.0003, "lately_s": 0.002}, True),
        ({"trip_s": 0.0003, "lately_s": 0.003}, False),
        # nothing was timed yet
        ({"trip_s": 0.0, "lately_s": 0.0}, True),
        ({"failing": True}, False),
        # without any link, that is no reason to have none
        ({"links": 0, "lately_s": 9.0, "failing": True}, True),
    ],
)
def test_a_pool_wants_a_link(facts: dict[str, Any], wants: bool) -> None:
    assert wants_link(FULL._replace(**facts), OPTIONS) is wants


@given(
    waiting=st.integers(0, 9),
    links=st.integers(0, 9),
    opening=st.integers(0, 2),
    times_s=st.floats(0, 100),
    lately_s=st.floats(0, 100),
    failing=st.booleans(),
)
def test_no_pool_ever_opens_two_links_at_once_or_more_than_the_most(
    waiting: int, links: int, opening: int, times_s: float, lately_s: float, failing: bool
) -> None:
    if wants_link(PoolFacts(waiting, links, opening, times_s, times_s, times_s, lately_s, failing), OPTIONS):
        assert waiting and not opening and links < OPTIONS.most


@pytest.mark.parametrize(
    ("idle_s", "goes"),
    [
        ([], False),
        ([500.0], False),
        ([0.0, 119.9], False),
        ([0.0, 120.0], True),
        ([500.0, 500.0], True),
        # those before it are filled first, so this is a moment's chance
        ([500.0, 0.0], False),
        ([0.0, 500.0, 0.0], False),
    ],
)
def test_the_last_link_goes_when_it_has_rested_for_long(idle_s: list[float], goes: bool) -> None:
    assert spare(idle_s, OPTIONS) is goes


def test_what_a_wave_needed_is_kept_for_the_next_wave() -> None:
    # no link is opened and closed within one rest
    assert OPTIONS.spare_s > 10 * (OPTIONS.full_s + OPTIONS.apart_s)


@pytest.mark.parametrize(
    ("batches", "many"),
    [
        ([], False),
        ([(5, 5)], False),
        ([(6, 6)], True),
        ([(100, 10)], False),
        ([(100, 11)], True),
        # it is forgotten when all is well again
        ([(100, 100), (100, 0), (100, 0), (100, 0), (100, 0)], False),
        ([(1000, 0), (1, 1), (1, 1)], False),
        ([(1000, 0), (50, 50)], True),
    ],
)
def test_apns_is_failing_when_a_tenth_of_the_answers_of_late_are_5xx(
    batches: list[tuple[int, int]], many: bool
) -> None:
    failures = Failures()
    for answers, failed in batches:
        failures.count(answers, failed)
    assert failures.many is many
