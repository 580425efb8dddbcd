"""Which member serves which shards: every member has to come to the same answer, and few shards to move."""

import random

import pytest

from engine.policy.assignment import assign

SHARDS = 64


def owners(members: list[str]) -> dict[int, str]:
    return {shard: member for member, shards in assign(SHARDS, members).items() for shard in shards}


@pytest.mark.parametrize("members", [1, 2, 3, 5, 8, 64, 100])
def test_every_shard_has_one_member_and_no_member_more_than_its_even_share(members: int) -> None:
    assigned = assign(SHARDS, [f"node/{number}" for number in range(members)])
    assert sorted(shard for shards in assigned.values() for shard in shards) == list(range(SHARDS))
    assert max(map(len, assigned.values())) <= -(-SHARDS // members)


def test_the_order_and_the_repetition_of_names_do_not_matter() -> None:
    names = [f"node/{number}" for number in range(7)]
    shuffled = names + names[:3]
    random.Random(1).shuffle(shuffled)
    assert assign(SHARDS, shuffled) == assign(SHARDS, names)


def test_without_members_nobody_has_anything() -> None:
    assert assign(SHARDS, []) == {}


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7])
def test_a_member_that_comes_moves_little_more_than_its_share(members: int) -> None:
    moved = share = 0
    for trial in range(30):
        names = [f"{trial}/{number}" for number in range(members)]
        before, after = owners(names), owners([*names, "new"])
        moved += sum(before[shard] != after[shard] for shard in range(SHARDS))
        share += sum(owner == "new" for owner in after.values())
    # a plain division by number would move nearly all of them
    assert moved <= 2 * share
