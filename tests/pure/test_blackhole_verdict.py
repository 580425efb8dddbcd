"""The verdict of blackhole: memory against its bound, work for nothing, recovery, and repeats without excuse."""

from dataclasses import replace
from itertools import count

import pytest

from engine.options import EngineOptions
from engine.policy.links import LinkOptions
from loadtest.bench.blackhole_verdict import Course, Look, Sizes, failures, memory_most, repeats_most, told
from loadtest.bench.judgement import Judgement, judge
from loadtest.bench.recovery import Recovery
from loadtest.bench.steady import Exchange
from loadtest.bench.whereabouts import Counts
from loadtest.sink.python import STREAMS
from loadtest.sink.recorder import Piece

MIB = 2**20
MOST = 20 * MIB
GOOD_SINK = {"misread": 0, "compared": 64}
RELEASED_S = 100.0
_numbers = count()


def looks(
    begin_s: float, *, rss: int = 50 * MIB, cpu: float = 0.05, changes: int = 100, queued: int = 10
) -> list[Look]:
    """Eleven looks in five seconds; two workers, of which the second does next to nothing."""
    return [
        Look(
            begin_s + at / 2,
            (rss, 50 * MIB),
            (begin_s + cpu * at / 2, 0.0),
            begin_s + 0.1 * at / 2,
            int(1_000 * begin_s + changes * at / 2),
            0,
            0,
            Counts(queued, 0, 0),
        )
        for at in range(11)
    ]


GOOD = Course(
    looks(0.0, changes=0),
    looks(10.0),
    looks(20.0),
    looks(RELEASED_S),
    connections=2,
    dialled=3,
    restarted=False,
    recovery=Recovery(1.0, 2.0, 9.9, 0.25),
)


def judged(connections: list[int]) -> Judgement:
    """One push, which came by these connections."""
    apns_id = b"%036d" % next(_numbers)
    sent = Exchange(0.0, 0.1, "accepted", 1, apns_id)
    return judge([sent], [Piece(at + 1.0, number, [apns_id]) for at, number in enumerate(connections)])


def wrong(course: Course, connections: tuple[int, ...] = (1,)) -> list[str]:
    return failures(judged(list(connections)), course, MOST, GOOD_SINK, True, 0)


def claimed(course: Course, jobs: int) -> Course:
    return course._replace(held=[look._replace(counts=Counts(0, 0, jobs)) for look in course.held])


def test_a_run_in_which_all_stays_within_bounds_has_no_failures() -> None:
    assert wrong(GOOD) == []


@pytest.mark.parametrize(
    ("course", "words"),
    [
        (GOOD._replace(held=looks(20.0, rss=71 * MIB)), "grew by 21.0 MiB"),
        (GOOD._replace(after=looks(RELEASED_S, rss=71 * MIB)), "grew by 21.0 MiB"),
        (GOOD._replace(held=looks(20.0, cpu=0.21)), "used 21% of a CPU"),
        (GOOD._replace(held=looks(20.0, changes=102)), "changed 102 keys a second"),
        (GOOD._replace(restarted=True), "a worker ended"),
        (GOOD._replace(recovery=Recovery(None, 2.0, 3.0, 0.25)), "the first push did not come back"),
        (GOOD._replace(recovery=Recovery(1.0, 10.1, 3.0, 0.25)), "offered rate came back after 10.1 s"),
        (GOOD._replace(recovery=Recovery(1.0, 2.0, 10.1, 0.25)), "new pushes came back after 10.1 s"),
    ],
)
def test_whatever_passes_its_bound_is_said(course: Course, words: str) -> None:
    [failure] = wrong(course)
    assert words in failure


def test_what_a_held_connection_had_may_come_twice_and_nothing_else() -> None:
    course = claimed(GOOD, 5)
    assert wrong(course, (1, 2)) == []
    # late by the old one, after it was sent again by a new one
    assert wrong(course, (7, 2)) == []
    assert wrong(course, (7, 8)) == ["1 pushes came again that no held connection had carried"]
    assert len(wrong(claimed(GOOD, 1), (1, 2, 2))) == 1


def test_no_more_was_under_way_than_the_connections_had_streams_for() -> None:
    assert repeats_most(claimed(GOOD, 1_500)) == 1_500
    assert repeats_most(claimed(GOOD, 1_000_000)) == 2 * STREAMS
    assert repeats_most(GOOD._replace(held=[look._replace(counts=None) for look in GOOD.held])) == 0


def test_the_memory_that_a_worker_may_take_follows_from_its_options() -> None:
    sizes = Sizes(in_hand=1_000, encoded=400, on_wire=400)
    options = EngineOptions(in_hand_most=1_000, links=LinkOptions(most=1))
    most = memory_most(options, sizes, pools=1, streams=10)
    more_jobs = memory_most(replace(options, in_hand_most=2_000), sizes, pools=1, streams=10)
    more_links = memory_most(replace(options, links=LinkOptions(most=2)), sizes, pools=1, streams=10)
    assert more_jobs > most and more_links > most
    assert memory_most(options, sizes, pools=2, streams=10) == more_links


def test_the_backlog_is_drained_when_no_more_stands_in_redis_than_before_for_good() -> None:
    after = looks(RELEASED_S, queued=1_000)
    after[4] = after[4]._replace(counts=Counts(0, 0, 0))
    after[8:] = [look._replace(counts=Counts(0, 10, 0)) for look in after[8:]]
    assert told(GOOD._replace(after=after), MOST, RELEASED_S)["recovery_s"]["drained"] == 4.0
    assert told(GOOD._replace(after=after[:8]), MOST, RELEASED_S)["recovery_s"]["drained"] is None


def test_the_phases_are_told_as_rates() -> None:
    held = looks(20.0, cpu=0.05)
    # a rewrite makes the file small, which is no writing back
    sizes = [0, 10, 20, 5, 15, 15, 15, 15, 15, 15, 15]
    held = [look._replace(aof_bytes=size * 10**6) for look, size in zip(held, sizes, strict=True)]
    said = told(GOOD._replace(held=held), MOST, RELEASED_S)["phases"]["held"]
    assert said["worker_cpu_percent"] == [5.0, 0.0]
    assert said["redis_cpu_percent"] == 10.0
    assert said["redis_changes_per_s"] == 100
    assert said["redis_aof_mb_per_s"] == 6.0
