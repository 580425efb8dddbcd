"""How a worker's hand is shared by flows, and how much a round of claims brings."""

import pytest

from engine.policy.sharing import (
    LITTLE,
    PART_LEAST,
    WAIT_S,
    Round,
    RoundOptions,
    is_time,
    plan_round,
    rooms,
    turns_brought,
    whole_round,
)

MOST = 8_000
CLAIM = 500
SIXTEEN = Round(16, CLAIM, CLAIM)
ONE_CLAIM = Round(1, CLAIM, CLAIM)


def held_when_stuck(flows: int) -> list[int]:
    """What each of so many flows holds when none of its pushes is answered, and one gets stuck after the other."""
    in_hand: dict[str, int] = {}
    for number in range(flows):
        while True:
            free = MOST - sum(in_hand.values())
            room = rooms(in_hand, free, ONE_CLAIM, {}, {}).get(f"flow{number}", CLAIM)
            if not room or free < CLAIM:
                break
            in_hand[f"flow{number}"] = in_hand.get(f"flow{number}", 0) + min(room, CLAIM)
    return list(in_hand.values())


@pytest.mark.parametrize("flows", [1, 2, 5])
def test_each_flow_that_is_stuck_leaves_two_thirds_of_what_it_found(flows: int) -> None:
    held = held_when_stuck(flows)
    assert len(held) == flows
    assert MOST - sum(held) == pytest.approx(MOST * (2 / 3) ** flows, abs=CLAIM)


def test_a_flow_alone_may_have_a_third_of_the_hand() -> None:
    [held] = held_when_stuck(1)
    assert held == pytest.approx(MOST / 3, abs=CLAIM)


def held_when_all_are_slow(weights: dict[str, int]) -> dict[str, int]:
    """What each flow ends with when all have enough and nothing is answered: every job goes to who has most room."""
    in_hand = dict.fromkeys(weights, 1)
    while True:
        found = rooms(in_hand, MOST - sum(in_hand.values()), Round(100, 64, 128), {}, weights)
        flow = max(in_hand, key=lambda each: found.get(each, CLAIM))
        if not found.get(flow, CLAIM):
            return in_hand
        in_hand[flow] += 1


def test_flows_that_wait_for_the_same_hold_as_much_as_their_weights_say() -> None:
    held = held_when_all_are_slow({"light": 1, "middle": 2, "heavy": 4})
    assert held["middle"] == pytest.approx(2 * held["light"], rel=0.01)
    assert held["heavy"] == pytest.approx(4 * held["light"], rel=0.01)


def test_a_heavy_flow_that_is_stuck_leaves_a_light_one_some_room() -> None:
    stuck = {"heavy": MOST // 3, "light": 1}
    room = rooms(stuck, MOST - sum(stuck.values()), Round(100, 64, 128), {}, {"heavy": 1_000})["light"]
    assert room == pytest.approx(MOST * 2 / 3 * PART_LEAST / 2, rel=0.01)


def test_the_weight_of_a_flow_that_has_nothing_in_hand_is_no_matter() -> None:
    assert rooms({"light": 1_800}, 4_000, ONE_CLAIM, {}, {"heavy": 8}) == {"light": 200}


def test_nothing_is_said_of_flows_of_which_a_round_can_bring_no_more_than_fits() -> None:
    assert rooms({"small": 10, "large": 1_800}, 4_000, ONE_CLAIM, {}, {}) == {"large": 200}
    # a turn of twice the size
    assert rooms({"a": 1_900}, 4_000, Round(1, 50, CLAIM), {}, {"a": 1}) == {}
    assert rooms({"a": 1_900}, 4_000, Round(1, 50, CLAIM), {}, {"a": 3}) == {"a": 100}


@pytest.mark.parametrize("free", [CLAIM, 2_000, 4_000])
def test_of_very_many_flows_those_that_hold_little_are_not_named(free: int) -> None:
    many = {f"flow{number}": 1 + number % 5 for number in range(2_000)}
    assert rooms(many, free, SIXTEEN, {}, {}) == {}
    assert rooms(many | {"large": 500}, free, SIXTEEN, {}, {}).keys() == {"large"}


def test_a_flow_has_its_own_bound_whatever_is_free() -> None:
    limits = {"bounded": 100, "wide": 5_000, "idle": 20}
    found = rooms({"bounded": 80, "wide": 10}, 8_000, ONE_CLAIM, limits, {})
    assert found == {"bounded": 20, "idle": 20}
    assert rooms({"bounded": 120}, 8_000, ONE_CLAIM, limits, {})["bounded"] == 0


def test_the_tighter_of_two_bounds_holds() -> None:
    assert rooms({"a": 1_900}, 4_000, ONE_CLAIM, {"a": 1_950}, {}) == {"a": 50}
    assert rooms({"a": 1_900}, 4_000, ONE_CLAIM, {"a": 2_300}, {}) == {"a": 100}


ROUNDS = RoundOptions(round_most=2_000, claim_least=64, claim_most=512, turn_least=16)


def plan(awake: int, room: int = MOST, turns: float = 1.0, *, rung: int = 0, free: int = MOST) -> Round:
    return plan_round(rung, awake, room, free, turns, ROUNDS)


def test_a_claim_is_the_smaller_the_more_shards_are_awake_but_worth_its_while() -> None:
    plans = [plan(awake) for awake in (1, 5, 20, 100)]
    assert [each.turn for each in plans] == [512, 400, 100, 64]
    assert [each.most for each in plans] == [512, 500, 125, 80]
    assert [each.shards for each in plans] == [1, 5, 20, 31]


def test_without_a_shard_that_is_awake_or_a_free_place_there_is_no_round() -> None:
    assert plan(0).shards == plan(0, rung=3).shards == 0
    assert plan(20, 0).shards == plan(20, -100).shards == 0
    assert plan(20, free=0).shards == plan(20, 0, rung=3, free=0).shards == 0
    # what the next to wake would be asked for
    assert plan(0) == Round(0, 512, 512)


def test_a_round_is_for_no_more_than_there_is_room_but_one_claim() -> None:
    assert plan(20, 1_000).shards == 15
    assert plan(20, 100).shards == 1
    assert plan(20, 1) == Round(1, 16, 80)


@pytest.mark.parametrize("room", [-500, 0, 100])
def test_shards_that_were_rung_are_served_without_room_and_others_give_little_there(room: int) -> None:
    assert plan(20, room, 4.0, rung=3) == Round(3, 16, 80)


def test_no_claim_may_bring_more_than_is_free() -> None:
    assert plan(20, 0, rung=4, free=100).most == 25
    assert plan(1, 512, free=300).most == 300
    assert plan(20, 0, rung=4, free=3) == Round(3, 16, 1)


def test_the_turns_of_a_claim_together_are_its_part_of_the_round() -> None:
    assert plan(20, turns=4.0) == Round(20, 25, 125)
    # as far as they are worth a look
    assert plan(20, turns=50.0) == Round(20, 16, 125)


@pytest.mark.parametrize("weights", [(1,), (1, 1), (1, 2, 4), (1,) * 40])
def test_rounds_come_to_what_they_should_bring_whatever_stands_in_the_shards(
    weights: tuple[int, ...],
) -> None:
    turns, brought = 1.0, []
    for _ in range(20):
        each = plan(20, turns=turns)
        brought.append(each.shards * min(each.most, each.turn * sum(weights)))
        turns = turns_brought(turns, each, brought[-1])
    assert max(brought) <= 1.25 * ROUNDS.round_most
    assert brought[-1] >= 0.9 * ROUNDS.round_most


def test_claims_that_bring_little_make_no_turn_larger_than_a_claim() -> None:
    each = plan(20, turns=3.0)
    assert turns_brought(3.0, each, 0) == 1.5
    assert turns_brought(1.0, each, 0) == 1.0


def test_a_round_brings_no_more_of_a_flow_than_its_turns_or_its_claims() -> None:
    each = Round(10, 64, 128)
    assert [each.brings(weight) for weight in (1, 2, 4)] == [640, 1_280, 1_280]
    # before any shard is awake: the next to wake
    assert Round(0, 512, 512).brings(1) == 512


@pytest.mark.parametrize(
    ("room", "round_most", "waited_s", "is_so"),
    [
        # a whole round
        (1_000, 1_000, 0.0, True),
        (999, 1_000, 0.0, False),
        # three quarters of what should be in hand
        (3_000, 5_000, 0.0, True),
        (2_999, 5_000, 0.0, False),
        # nobody knows whether the rest comes
        (LITTLE, 1_000, WAIT_S, True),
        (999, 1_000, 0.9 * WAIT_S, False),
        (LITTLE - 1, 1_000, 100.0, False),
        # a larger round takes longer
        (LITTLE, 3_000, 2.9 * WAIT_S, False),
        (LITTLE, 3_000, 3.1 * WAIT_S, True),
        # a smaller one is waited for as long as a usual one
        (LITTLE, 250, 0.9 * WAIT_S, False),
    ],
)
def test_a_round_is_waited_for_until_it_is_whole_but_not_for_long(
    room: int, round_most: int, waited_s: float, is_so: bool
) -> None:
    assert is_time(room, 4_000, round_most, 1_000, waited_s) is is_so


def test_what_is_in_hand_for_the_sake_of_batches_comes_in_large_rounds() -> None:
    assert whole_round(1_000, 0) == whole_round(1_000, 1_300) == 1_000
    assert whole_round(1_000, 16_000) == 12_000
    # which is when that many are wanted
    assert is_time(12_000, 16_000, whole_round(1_000, 16_000), 1_000, 0.0)
