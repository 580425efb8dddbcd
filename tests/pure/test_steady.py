"""The load: whose turn it is, and what an answer says of a single push."""

from collections import Counter

import msgspec
import pytest

from loadtest.bench.steady import fates, turns


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (1, 10), (3, 2)])
def test_each_sender_has_as_many_turns_in_a_round_as_its_weight(weights: tuple[int, ...]) -> None:
    assert Counter(turns(weights)) == dict(enumerate(weights))


def test_senders_of_one_weight_take_turns_and_others_are_far_apart() -> None:
    assert turns((1, 1, 1)) == [0, 1, 2]
    assert turns((1, 4)) == [1, 1, 0, 1, 1]


def test_the_answer_to_a_single_push_has_one_id() -> None:
    body = msgspec.json.encode({"id": "x" * 36})
    [part] = fates(202, body, 1, 5.0, 6.0, sender=2)
    assert (part.kind, part.pushes, part.ids, part.sender) == ("accepted", 1, b"x" * 36, 2)


@pytest.mark.parametrize(("status", "pushes"), [(202, 3), (503, 3), (500, 3)])
def test_every_fate_names_its_sender(status: int, pushes: int) -> None:
    body = msgspec.json.encode({"results": [{"id": "x" * 36}], "code": "store-refused"})
    parts = fates(status, body, pushes, 0.0, 1.0, sender=1)
    assert [part.sender for part in parts] == [1] * len(parts)
    assert sum(part.pushes for part in parts) == pushes
