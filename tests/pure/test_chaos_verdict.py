"""The verdict of chaos: sets of ids, each surplus and each gap found, and what is wrong said in words."""

import time
from itertools import count

import msgspec
import pytest

from loadtest.bench.chaos import failures, in_flight
from loadtest.bench.chaos_verdict import Repeat, by_fault, judge, made_ms
from loadtest.bench.faults import Fault
from loadtest.bench.steady import Exchange, fates
from loadtest.sink.recorder import Piece
from shards.job import new_ids

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS / 1000
GOOD_SINK = {"misread": 0, "compared": 64}
_seeds = count(1)


def ids(number: int, at_ms: int = NOW_MS) -> list[bytes]:
    return list(new_ids(at_ms, b"".join((next(_seeds) << 16).to_bytes(10) for _ in range(number))))


def accepted(made: list[bytes], due_s: float = NOW_S) -> Exchange:
    return Exchange(due_s, due_s + 0.1, "accepted", len(made), b"".join(made))


def killed(in_flight: int, at_s: float = NOW_S) -> list[Fault]:
    return [Fault(at_s, "worker", "worker-0", in_flight)]


def test_what_came_once_is_neither_lost_nor_repeated() -> None:
    made = ids(3)
    judgement = judge([accepted(made)], [Piece(NOW_S + 1, 1, made[:2]), Piece(NOW_S + 3, 2, made[2:])])
    assert judgement.accepted_by_api == judgement.recorded == 3
    assert (judgement.lost, judgement.repeated, judgement.strangers) == (0, 0, 0)
    assert (judgement.p50_s, judgement.p99_s, judgement.longest_gap_s) == (1.0, 3.0, 2.0)
    assert failures(judgement, [], GOOD_SINK, True, 0) == []


def test_a_loss_is_not_made_up_for_by_a_repeat() -> None:
    made = ids(3)
    judgement = judge([accepted(made)], [Piece(NOW_S, 1, [made[0], made[0], made[0], made[1]])])
    assert (judgement.lost, judgement.repeated, judgement.repeated_ids) == (1, 2, 1)
    assert failures(judgement, killed(2), GOOD_SINK, True, 0) == ["1 pushes that the API accepted never came"]
    assert len(failures(judgement, killed(1), GOOD_SINK, True, 0)) == 2


def test_a_repeat_is_put_down_to_a_fault_since_the_push_first_came() -> None:
    repeats = [Repeat(1.0, 3.0), Repeat(1.0, 9.0), Repeat(5.0, 6.0), Repeat(7.0, 9.0), Repeat(8.5, 9.0)]
    # the first one since, however late the push came again; 5 to 6 and 8.5 to 9 have none
    assert by_fault(repeats, [2.0, 8.0]) == ([2, 1], 2)
    assert by_fault([Repeat(1.0, 3.0)], []) == ([], 1)


def test_a_repeat_is_no_less_wrong_for_a_kill_long_before_or_of_an_ingest_process() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 10, 1, made), Piece(NOW_S + 11, 1, made)])
    assert failures(judgement, killed(5, NOW_S + 10.5), GOOD_SINK, True, 0) == []
    assert len(failures(judgement, killed(5, NOW_S + 1), GOOD_SINK, True, 0)) == 1
    ingest = [Fault(NOW_S + 10.5, "ingest", "ingest-0", 5)]
    assert len(failures(judgement, ingest, GOOD_SINK, True, 0)) == 1


def test_the_time_of_a_push_ends_when_it_first_came() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 1, 1, made), Piece(NOW_S + 9, 2, made)])
    assert (judgement.p99_s, judgement.repeated) == (1.0, 1)


def test_ids_of_a_batch_in_doubt_are_explained_by_their_time() -> None:
    doubt = Exchange(NOW_S, NOW_S + 1, "in_doubt", 2)
    inside, outside = ids(2, NOW_MS + 500), ids(1, NOW_MS + 5_000)
    known = judge([doubt], [Piece(NOW_S, 1, inside)])
    assert (known.strangers, known.unexplained, known.in_doubt_batches) == (2, 0, 1)
    assert judge([doubt], [Piece(NOW_S, 1, outside)]).unexplained == 1
    # of the right time, but more than the batch had
    assert judge([doubt], [Piece(NOW_S, 1, inside + ids(1, NOW_MS + 500))]).unexplained == 1
    assert failures(judge([doubt], [Piece(NOW_S, 1, outside)]), [], GOOD_SINK, True, 0)


def test_an_id_tells_when_it_was_made() -> None:
    assert made_ms(ids(1, 1_234_567_890_123)[0]) == 1_234_567_890_123


def test_a_sink_that_misread_or_a_gateway_that_ended_is_a_failure() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S, 1, made)])
    assert failures(judgement, [], {"misread": 1, "compared": 64}, True, 0)
    assert failures(judgement, [], {"misread": 0, "compared": 0}, True, 0)
    assert failures(judgement, [], GOOD_SINK, False, 75)
    assert failures(judgement, [], GOOD_SINK, True, 1)


def test_what_could_not_be_read_at_a_kill_allows_no_repeat() -> None:
    done = [Fault(0.0, "worker", "worker-0", 5), Fault(0.0, "redis", "redis", None)]
    assert in_flight(done) == 5


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "store-in-doubt", "in_doubt"),
        (503, "store-unavailable", "refused"),
        (503, "too-busy", "refused"),
        (500, "internal", "in_doubt"),
    ],
)
def test_an_answer_without_ids_is_refused_only_where_it_says_so(status: int, code: str, kind: str) -> None:
    body = msgspec.json.encode({"code": code})
    assert [(each.kind, each.pushes) for each in fates(status, body, 7, 0.0, 1.0)] == [(kind, 7)]


def test_a_batch_of_which_a_part_was_refused_has_two_fates() -> None:
    [made] = ids(1, int(time.time() * 1000))
    body = msgspec.json.encode({"results": [{"id": made.decode()}, {"error": {"code": "store-refused"}}]})
    parts = fates(207, body, 2, 0.0, 1.0)
    assert [(part.kind, part.pushes, part.ids) for part in parts] == [
        ("accepted", 1, made),
        ("refused", 1, b""),
    ]
