"""How much a worker takes in hand, by how fast its jobs meet their fates and how far APNs is."""

import pytest

from engine.policy.pace import (
    FADES,
    FOR_LINK,
    LOOK_S,
    PROBE_EVERY_S,
    PROBE_S,
    SLACK_IN_COMPANY_S,
    SLACK_S,
    SLACK_SHARE_MOST,
    TRIP_TIMES,
    TRIP_TIMES_IN_COMPANY,
    Pace,
    Way,
)
from engine.policy.trip import WINDOW_S, Trip

LEAST, MOST = 1_000, 16_000


class Worker:
    """A worker that finishes so many jobs a second, seen by its pace."""

    def __init__(self) -> None:
        self.pace = Pace(LEAST, MOST)
        self.now_s = 0.0
        self.done = 0
        self.look(0)

    def look(
        self, finished: int, *, trip_s: float = 0.1, links: int = 1, company: bool = False, **flows: int
    ) -> int:
        """So many jobs are finished in a look's time; ``flows``: what is in hand, and none of it moves."""
        self.now_s += LOOK_S
        self.done += finished
        self.pace.look(self.now_s, self.done, flows, set(), Way(trip_s, links), company)
        return self.pace.target


@pytest.mark.parametrize("trip_s", [0.01, 0.03, 0.07])
def test_the_hand_holds_what_the_way_holds_at_the_rate_of_the_answers(trip_s: float) -> None:
    per_s = 20_000
    alone = Worker().look(int(per_s * LOOK_S), trip_s=trip_s)
    shared = Worker().look(int(per_s * LOOK_S), trip_s=trip_s, company=True)
    assert alone == pytest.approx(per_s * (TRIP_TIMES * trip_s + SLACK_S), rel=0.01)
    in_company = per_s * (TRIP_TIMES_IN_COMPANY * trip_s + SLACK_IN_COMPANY_S)
    assert shared == pytest.approx(max(LEAST, in_company), rel=0.01)


def test_the_slack_leaves_places_free_however_fast_jobs_meet_their_fates() -> None:
    # else what bounds a flow by the free places would bind, and not its weight
    assert Worker().look(int(400_000 * LOOK_S), trip_s=0.001) == pytest.approx(
        400_000 * TRIP_TIMES * 0.001 + SLACK_SHARE_MOST * MOST, rel=0.01
    )


def test_it_has_bounds() -> None:
    worker = Worker()
    assert worker.look(0) == LEAST
    assert worker.look(1_000_000) == MOST


def test_with_many_links_there_is_enough_in_hand_to_give_each_a_batch() -> None:
    worker = Worker()
    assert worker.look(0, links=LEAST // FOR_LINK) == LEAST
    assert worker.look(0, links=200) == worker.pace.for_links == 200 * FOR_LINK
    assert worker.look(0, links=1_000) == worker.pace.for_links == MOST
    # others would wait for it
    assert worker.look(0, links=200, company=True) == LEAST
    assert worker.pace.for_links == 0


def test_now_and_then_as_little_as_may_be_is_in_hand_so_that_the_way_is_seen() -> None:
    worker = Worker()
    targets = [worker.look(4_000, trip_s=0.05) for _ in range(int(2.2 * PROBE_EVERY_S / LOOK_S))]
    little = [at * LOOK_S for at, target in enumerate(targets, 1) if target == LEAST]
    assert little[0] == pytest.approx(PROBE_EVERY_S, abs=2 * LOOK_S)
    assert len(little) == pytest.approx(2 * PROBE_S / LOOK_S, abs=3)
    assert min(target for target in targets if target != LEAST) == max(targets)


def test_a_way_that_is_longer_than_was_known_is_filled_with_each_round_trip_by_more() -> None:
    # a second; what comes back of a hand comes back once a second
    worker, held = Worker(), LEAST
    for _ in range(3):
        before = held
        for _ in range(9):
            worker.look(int(before * LOOK_S), trip_s=1.0)
        held = worker.look(int(before * LOOK_S), trip_s=1.0)
        assert held == pytest.approx(min(MOST, (TRIP_TIMES + SLACK_S) * before), rel=0.1)


def test_a_pause_lowers_it_little_by_little() -> None:
    worker = Worker()
    before = worker.look(2_000, trip_s=0.1)
    assert worker.look(0, trip_s=0.1) == pytest.approx(before * FADES, rel=0.01)
    for _ in range(50):
        worker.look(0, trip_s=0.1)
    assert worker.pace.target == LEAST


def test_room_is_what_is_missing_of_it() -> None:
    worker = Worker()
    worker.look(0)
    assert [worker.pace.room(jobs) for jobs in (0, LEAST, LEAST + 5)] == [LEAST, 0, -5]


def test_jobs_of_a_flow_that_has_not_moved_for_two_looks_take_no_room_from_others() -> None:
    worker = Worker()
    worker.look(0, dead=600, alive=300)
    assert worker.pace.room(900) == LEAST - 900
    worker.now_s += LOOK_S
    worker.pace.look(worker.now_s, worker.done, {"dead": 600, "alive": 300}, {"alive"}, Way(0.1, 1), False)
    assert worker.pace.room(900) == LEAST - 300
    # it moves again
    worker.now_s += LOOK_S
    worker.pace.look(
        worker.now_s, worker.done, {"dead": 500, "alive": 300}, {"dead", "alive"}, Way(0.1, 1), False
    )
    assert worker.pace.room(800) == LEAST - 800


def test_it_is_looked_at_now_and_then_and_less_often_with_very_many_flows() -> None:
    pace = Pace(LEAST, MOST)
    assert pace.is_due(5.0, 1)
    pace.look(5.0, 0, {}, set(), Way(0.0, 0), False)
    assert not pace.is_due(5.0 + LOOK_S / 2, 1)
    assert pace.is_due(5.0 + LOOK_S * 1.01, 1)
    assert not pace.is_due(5.0 + LOOK_S * 1.01, 10_000)
    assert pace.is_due(5.0 + LOOK_S * 20.01, 10_000)


def test_the_shortest_round_trip_of_late_is_that_of_the_way() -> None:
    trip = Trip()
    assert trip.least_s == 0.0
    for at_s, took_s in ((0.0, 0.3), (1.0, 0.1), (2.0, 0.5)):
        trip.took(took_s, at_s)
    assert trip.least_s == 0.1


def test_a_way_that_became_longer_is_believed_after_two_windows() -> None:
    trip = Trip()
    trip.took(0.1, 0.0)
    trip.took(0.4, WINDOW_S)
    assert trip.least_s == 0.1
    trip.took(0.4, 2 * WINDOW_S)
    assert trip.least_s == 0.4
