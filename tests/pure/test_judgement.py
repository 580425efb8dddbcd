"""What became of pushes: sets of ids, each surplus and each gap found, and what is wrong said in words."""

import time
from itertools import count

import msgspec
import pytest

from loadtest.bench.judgement import Judgement, Repeat, by_fault, failures, judge, made_ms, told
from loadtest.bench.steady import Exchange, fates
from loadtest.bench.whereabouts import Found, Place
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


def wrong(judgement: Judgement) -> list[str]:
    return failures(judgement, GOOD_SINK, True, 0)


def test_what_came_once_is_neither_lost_nor_repeated() -> None:
    made = ids(3)
    judgement = judge([accepted(made)], [Piece(NOW_S + 1, 1, made[:2]), Piece(NOW_S + 3, 2, made[2:])])
    assert judgement.accepted_by_api == judgement.recorded == 3
    assert (judgement.lost, judgement.repeated, judgement.strangers) == (0, 0, 0)
    assert (judgement.p50_s, judgement.p99_s, judgement.longest_gap_s) == (1.0, 3.0, 2.0)
    assert wrong(judgement) == []


def test_a_loss_is_not_made_up_for_by_a_repeat() -> None:
    made = ids(3)
    judgement = judge([accepted(made)], [Piece(NOW_S, 1, [made[0], made[0], made[0], made[1]])])
    assert (judgement.lost, judgement.repeated, judgement.repeated_ids) == (1, 2, 1)
    assert wrong(judgement) == ["1 pushes that the API accepted are neither at the sink nor in Redis"]


def test_what_still_stands_in_redis_is_queued_or_dead_and_only_the_rest_is_lost() -> None:
    made = ids(6)
    found = [
        Found(made[1], Place.WAITING),
        Found(made[2], Place.CLAIMED),
        Found(made[3], Place.DEAD, "Poison"),
        # of one that came, and of one that nobody was told of
        Found(made[0], Place.READY),
        Found(ids(1)[0], Place.READY),
    ]
    judgement = judge([accepted(made)], [Piece(NOW_S, 1, made[:1])], found)
    assert judgement.queued == {Place.WAITING: 1, Place.CLAIMED: 1}
    assert judgement.dead == {"Poison": 1}
    assert judgement.lost == 2
    assert told(judgement)["queued"] == {"waiting": 1, "claimed": 1}


def test_a_push_that_stands_in_two_places_makes_up_for_no_other() -> None:
    made = ids(2)
    found = [Found(made[0], Place.READY), Found(made[0], Place.WAITING)]
    judgement = judge([accepted(made)], [], found)
    assert (sum(judgement.queued.values()), judgement.lost) == (1, 1)


@pytest.mark.parametrize(
    ("place", "reason", "is_wrong"),
    [
        (Place.WAITING, "", False),
        (Place.DUE, "", True),
        (Place.READY, "", True),
        (Place.CLAIMED, "", True),
        (Place.DEAD, "Poison", True),
    ],
)
def test_what_is_queued_at_the_end_is_wrong_unless_its_time_is_still_to_come(
    place: Place, reason: str, is_wrong: bool
) -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [], [Found(made[0], place, reason)])
    assert judgement.lost == 0
    assert len(wrong(judgement)) == is_wrong


def test_a_repeat_is_put_down_to_a_fault_since_the_push_first_came() -> None:
    repeats = [Repeat(1.0, 3.0), Repeat(1.0, 9.0), Repeat(5.0, 6.0), Repeat(7.0, 9.0), Repeat(8.7, 9.0)]
    # the first one since, however late the push came again; 5 to 6 and 8.7 to 9 have none
    assert by_fault(repeats, [2.0, 8.0]) == ([2, 1], 2)
    assert by_fault([Repeat(1.0, 3.0)], []) == ([], 1)


def test_what_was_on_its_way_at_a_fault_may_first_come_a_moment_later_and_never_twice_before_it() -> None:
    assert by_fault([Repeat(2.4, 3.0), Repeat(2.6, 3.0), Repeat(1.8, 1.99)], [2.0]) == ([1], 2)


def test_a_repeat_tells_by_which_connections_it_came() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S + 1, 4, made), Piece(NOW_S + 2, 9, made)])
    assert judgement.repeats == [Repeat(NOW_S + 1, NOW_S + 2, 4, 9)]


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
    assert wrong(judge([doubt], [Piece(NOW_S, 1, outside)]))


def test_an_id_tells_when_it_was_made() -> None:
    assert made_ms(ids(1, 1_234_567_890_123)[0]) == 1_234_567_890_123


def test_a_sink_that_misread_or_a_gateway_that_ended_is_a_failure() -> None:
    made = ids(1)
    judgement = judge([accepted(made)], [Piece(NOW_S, 1, made)])
    assert failures(judgement, {"misread": 1, "compared": 64}, True, 0)
    assert failures(judgement, {"misread": 0, "compared": 0}, True, 0)
    assert failures(judgement, GOOD_SINK, False, 75)
    assert failures(judgement, GOOD_SINK, True, 1)


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
