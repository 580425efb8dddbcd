"""Whether a flow's device tokens belong where they go: when they are doubted, when the flow is slowed down, and until
when."""

import pytest

from engine.policy.token_quality import QualityOptions, State, TokenQuality, is_bad

OPTIONS = QualityOptions(
    half_life_s=30.0, doubt_from=10.0, suspect_from=50.0, most=0.5, few=0.4, trickle_per_s=4.0
)
FLOW = "acme"


def quality() -> TokenQuality:
    return TokenQuality(OPTIONS)


def suspect(at_s: float = 100.0) -> TokenQuality:
    made = quality()
    assert made.learn(FLOW, 100, 100, at_s) is State.SUSPECT
    return made


def test_nothing_is_doubted_of_a_flow_that_nothing_is_known_of() -> None:
    made = quality()
    assert not made and FLOW not in made
    assert not made.doubts(FLOW)
    assert made.rooms(0.0) == {}


def test_one_batch_of_bad_tokens_is_enough_and_none_of_it_is_believed() -> None:
    made = suspect()
    assert made and FLOW in made and made.doubts(FLOW)


def test_when_each_push_is_bad_a_few_are_believed_then_doubted_then_the_flow_is_suspect() -> None:
    """A link that APNs has accepted nothing on takes one push at a time, so they come one by one."""
    made, doubted, states = quality(), [], []
    for number in range(60):
        states.append(made.learn(FLOW, 1, 1, 100.0 + number / 1_000_000))
        doubted.append(made.doubts(FLOW))
    assert doubted.index(True) in (9, 10)
    assert all(doubted[10:])
    [turn] = [number for number, state in enumerate(states) if state is not None]
    assert turn in (49, 50) and states[turn] is State.SUSPECT


@pytest.mark.parametrize(
    ("known", "bad", "state", "doubted"),
    [
        (100, 51, State.SUSPECT, True),
        (100, 50, None, False),
        (100, 39, State.WELL, False),
        (49, 49, None, True),
        (11, 6, None, True),
        (9, 9, None, False),
        (9, 0, None, False),
        (11, 0, State.WELL, False),
    ],
)
def test_it_takes_enough_answers_and_most_of_them_bad(
    known: int, bad: int, state: State | None, doubted: bool
) -> None:
    made = quality()
    assert made.learn(FLOW, known, bad, 100.0) is state
    assert made.doubts(FLOW) is doubted


def test_a_third_of_bad_tokens_in_whatever_order_is_no_reason() -> None:
    made = quality()
    states = [made.learn(FLOW, 30, bad, 100.0 + n) for n, bad in enumerate((9, 12, 6, 10, 9) * 20)]
    assert [state for state in states if state] == [State.WELL]
    assert not made.doubts(FLOW)


def test_a_flow_is_let_go_below_a_lower_share_than_the_one_that_it_was_caught_at() -> None:
    made = suspect()
    # 100 of 100, of which half a minute later half counts
    assert made.learn(FLOW, 50, 0, 130.0) is None  # 50 of 100
    assert made.learn(FLOW, 20, 0, 130.0) is None  # 50 of 120, between the two
    assert FLOW in made
    assert made.learn(FLOW, 10, 0, 130.0) is State.WELL  # 50 of 130
    assert FLOW not in made and not made
    # and caught only above the higher one
    assert made.learn(FLOW, 10, 10, 130.0) is None  # 60 of 140
    assert made.learn(FLOW, 20, 20, 130.0) is None  # 80 of 160
    assert made.learn(FLOW, 1, 1, 130.0) is State.SUSPECT  # 81 of 161


def test_answers_of_long_ago_do_not_outweigh_those_of_now() -> None:
    made = quality()
    assert made.learn(FLOW, 100_000, 0, 0.0) is State.WELL
    assert made.learn(FLOW, 100, 100, 300.0) is State.SUSPECT  # ten half-lives: of 100,000 98 are left
    other = quality()
    other.learn(FLOW, 100_000, 0, 0.0)
    assert other.learn(FLOW, 100, 100, 30.0) is None


def test_flows_are_apart() -> None:
    made = suspect()
    assert made.learn("acme/sandbox", 100, 0, 100.0) is State.WELL
    assert not made.doubts("acme/sandbox") and made.doubts(FLOW)
    assert made.rooms(101.0).keys() == {FLOW}


def test_a_suspect_flow_sends_a_few_pushes_a_second_and_saves_no_more_than_a_seconds_worth() -> None:
    made = suspect(100.0)
    assert [made.rooms(100.0 + s)[FLOW] for s in (0.0, 0.25, 0.5, 1.0, 60.0)] == [0, 1, 2, 4, 4]
    made.learn(FLOW, 3, 3, 160.0)
    assert [made.rooms(160.0 + s)[FLOW] for s in (0.0, 0.5, 1.0)] == [1, 3, 4]


def test_what_was_under_way_when_it_became_suspect_is_no_debt() -> None:
    made = suspect(100.0)
    made.excuse(FLOW, 1_000)
    made.learn(FLOW, 900, 900, 101.0)
    assert made.rooms(101.0) == {FLOW: 4}
    made.learn(FLOW, 103, 103, 101.0)
    assert made.rooms(101.0) == {FLOW: 1}


def test_more_than_there_was_room_for_is_paid_back_by_waiting_but_not_for_ever() -> None:
    made = suspect(100.0)
    made.learn(FLOW, 16, 16, 101.0)
    assert [made.rooms(101.0 + s)[FLOW] for s in (0.0, 3.0, 3.25, 4.0)] == [0, 0, 1, 4]
    made.learn(FLOW, 100_000, 100_000, 105.0)
    assert [made.rooms(105.0 + s)[FLOW] for s in (0.0, 10.0, 10.25)] == [0, 0, 1]


def test_at_a_trickle_it_stays_suspect_while_tokens_are_bad_and_is_let_go_when_they_are_good() -> None:
    made, now_s = suspect(100.0), 100.0
    for _ in range(600):
        now_s += 1.0
        assert made.learn(FLOW, 4, 4, now_s) is None
    good_from_s, state = now_s, None
    while state is None:
        now_s += 1.0
        state = made.learn(FLOW, 4, 0, now_s)
    assert state is State.WELL
    assert now_s - good_from_s < 60.0


def test_to_forget_is_to_begin_anew() -> None:
    made = suspect()
    assert made.forget(FLOW)
    assert not made and not made.doubts(FLOW) and made.rooms(200.0) == {}
    assert not made.forget(FLOW)
    assert made.learn(FLOW, 9, 9, 100.0) is None and not made.doubts(FLOW)


def test_a_suspect_that_sends_nothing_any_more_is_forgotten_in_minutes_and_named() -> None:
    made = suspect(100.0)
    assert made.forget_silent(200.0) == []
    assert made.forget_silent(400.0) == [FLOW]
    assert not made and made.forget_silent(400.0) == []


def test_what_is_kept_is_bounded_by_the_flows_of_the_last_minutes() -> None:
    made = suspect(0.0)
    for number in range(20_000):
        made.learn(f"tenant-{number}", 1, 0, float(number))
    # one of them a second, forgotten after a half-life or two
    assert int(repr(made).split()[1]) <= 1_001
    assert FLOW in made


@pytest.mark.parametrize("reason", ["BadDeviceToken", "badDeviceToken", "Bad Device Token"])
def test_the_reason_is_known_in_any_spelling(reason: str) -> None:
    assert is_bad(reason)


@pytest.mark.parametrize("reason", ["Unregistered", "DeviceTokenNotForTopic", "ExpiredToken", ""])
def test_tokens_that_died_where_they_belong_are_not_meant(reason: str) -> None:
    assert not is_bad(reason)


def test_a_suspect_is_still_known_when_silent_flows_are_swept_out() -> None:
    made = suspect(0.0)
    for number in range(2_000):
        made.learn(f"tenant-{number}", 1, 0, 600.0 + number)
    assert made.doubts(FLOW)
    # whoever raised the condition hears that it is over
    assert made.forget(FLOW)
