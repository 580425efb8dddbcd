"""The verdict of chaos: how many may come twice, after which faults, and what is wrong said in words."""

from itertools import count

from loadtest.bench.chaos_verdict import failures, in_flight, told
from loadtest.bench.faults import Fault
from loadtest.bench.judgement import judge
from loadtest.bench.lab import AofFaults
from loadtest.bench.steady import Exchange
from loadtest.sink.recorder import Piece
from shards.job import new_ids

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS / 1000
GOOD_AOF = AofFaults(truncated=1, misread=0)
GOOD_SINK = {"misread": 0, "compared": 64}
_seeds = count(1)


def ids(number: int) -> list[bytes]:
    return list(new_ids(NOW_MS, b"".join((next(_seeds) << 16).to_bytes(10) for _ in range(number))))


def accepted(made: list[bytes]) -> Exchange:
    return Exchange(NOW_S, NOW_S + 0.1, "accepted", len(made), b"".join(made))


def killed(in_flight: int, at_s: float = NOW_S) -> list[Fault]:
    return [Fault(at_s, "worker", "worker-0", in_flight)]


def test_no_more_may_come_twice_than_was_in_hands() -> None:
    made = ids(2)
    judgement = judge([accepted(made)], [Piece(NOW_S, 1, [made[0], made[0], made[0], made[1]])])
    assert failures(judgement, killed(2), GOOD_AOF, GOOD_SINK, True, 0) == []
    assert len(failures(judgement, killed(1), GOOD_AOF, GOOD_SINK, True, 0)) == 1


def test_a_repeat_is_no_less_wrong_for_a_kill_long_before_or_of_an_ingest_process() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 10, 1, made), Piece(NOW_S + 11, 1, made)])
    assert failures(judgement, killed(5, NOW_S + 10.5), GOOD_AOF, GOOD_SINK, True, 0) == []
    assert len(failures(judgement, killed(5, NOW_S + 1), GOOD_AOF, GOOD_SINK, True, 0)) == 1
    ingest = [Fault(NOW_S + 10.5, "ingest", "ingest-0", 5)]
    assert len(failures(judgement, ingest, GOOD_AOF, GOOD_SINK, True, 0)) == 1


def test_nothing_may_come_twice_for_a_supervisor_that_was_killed() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 10, 1, made), Piece(NOW_S + 11, 1, made)])
    done = [Fault(NOW_S + 10.5, "supervisor", "supervisor", 0)]
    assert len(failures(judgement, done, GOOD_AOF, GOOD_SINK, True, 0)) == 1
    assert told(done, judgement)[0]["repeated"] == 1


def test_a_child_that_outlives_its_supervisor_is_a_failure() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 10, 1, made)])
    done = [Fault(NOW_S, "supervisor", "supervisor", 0, orphans=1)]
    assert len(failures(judgement, done, GOOD_AOF, GOOD_SINK, True, 0)) == 1


def test_a_file_that_redis_misread_is_a_failure_and_one_that_it_cut_is_none() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 10, 1, made)])
    assert failures(judgement, [], AofFaults(3, 0), GOOD_SINK, True, 0) == []
    assert len(failures(judgement, [], AofFaults(3, 1), GOOD_SINK, True, 0)) == 1


def test_what_is_wrong_with_any_run_is_wrong_with_this_one() -> None:
    assert len(failures(judge([accepted(ids(1))], []), [], GOOD_AOF, GOOD_SINK, False, 75)) == 2


def test_what_could_not_be_read_at_a_kill_allows_no_repeat() -> None:
    done = [Fault(0.0, "worker", "worker-0", 5), Fault(0.0, "redis", "redis", None)]
    assert in_flight(done) == 5
