"""Pauses of credentials and topics: what begins one, what makes the next one longer, and what ends it."""

from collections.abc import Iterator

import pytest

from engine.apns.headers import Held
from engine.policy.pause import TOPICS_MOST, WHOLE, Pause, PauseOptions, Pauses
from shards.job import Job

OPTIONS = PauseOptions(first_s=5.0, most_s=60.0, try_s=10.0, behind_s=1.0)
REASON = "InvalidProviderToken"


def held(*topics: str) -> list[Held]:
    return [(Job(b"id", b"00", topic, b"{}"), number) for number, topic in enumerate(topics)]


def paused(topic: str = WHOLE, at_s: float = 100.0) -> Pauses:
    pauses = Pauses(OPTIONS)
    assert pauses.refused(topic, REASON, at_s) == Pause(REASON, at_s, at_s + 5.0)
    return pauses


def tried(pauses: Pauses, topic: str, at_s: float) -> None:
    """One push is let through."""
    assert pauses.sift(held(topic or "a"), at_s) == (held(topic or "a"), [], True)


def test_without_a_refusal_there_is_no_pause() -> None:
    pauses = Pauses(OPTIONS)
    assert not pauses and not pauses.rests(0.0)
    assert pauses.sift(held("a", "b"), 0.0) == (held("a", "b"), [], False)


def test_a_hundred_refusals_at_once_are_one_pause() -> None:
    pauses = paused()
    assert [pauses.refused(WHOLE, REASON, 100.0 + n / 10) for n in range(1, 100)] == [None] * 99
    assert pauses[WHOLE] == Pause(REASON, 100.0, 105.0)


def test_during_a_pause_everything_is_put_off_until_its_end() -> None:
    pauses = paused()
    assert pauses.rests(104.9) and not pauses.rests(105.0)
    assert pauses.sift(held("a", "b"), 102.0) == ([], [(held("a", "b"), 3.0)], False)


def test_when_it_is_over_one_push_tries_and_the_others_wait_behind_it() -> None:
    pauses = paused()
    first, *others = held("a", "a", "b")
    assert pauses.sift([first, *others], 105.0) == ([first], [(others, 1.0)], True)
    assert pauses.rests(106.0)
    assert pauses.sift(held("a"), 106.0) == ([], [(held("a"), 1.0)], False)


def test_a_try_whose_answer_is_lost_is_followed_by_another() -> None:
    pauses = paused()
    tried(pauses, WHOLE, 105.0)
    assert pauses.rests(114.9) and not pauses.rests(115.0)
    tried(pauses, WHOLE, 115.0)
    assert pauses[WHOLE].strikes == 1


@pytest.mark.parametrize("topic", [WHOLE, "a"])
def test_each_try_that_is_refused_doubles_the_pause_up_to_the_most(topic: str) -> None:
    pauses, now_s, delays = paused(topic), 100.0, []
    for _ in range(6):
        now_s = pauses[topic].until_s
        tried(pauses, topic, now_s)
        begun = pauses.refused(topic, REASON, now_s + 0.1)
        assert begun is not None and not begun.trying
        delays.append(round(begun.until_s - begun.began_s, 6))
    assert delays == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_a_straggler_that_is_refused_after_the_pause_and_before_the_try_makes_it_no_longer() -> None:
    pauses = paused()
    assert pauses.refused(WHOLE, REASON, 107.0) is None
    tried(pauses, WHOLE, 108.0)


def test_a_try_that_is_accepted_ends_the_matter_and_the_next_pause_is_short() -> None:
    pauses = paused()
    tried(pauses, WHOLE, 105.0)
    assert pauses.accepted({"a"}, 105.5) == [WHOLE]
    assert not pauses
    begun = pauses.refused(WHOLE, REASON, 200.0)
    assert begun is not None and begun.until_s == 205.0


@pytest.mark.parametrize(
    ("trying", "sent_s"),
    [(False, 101.0), (True, 99.0)],
    ids=["before the try", "sent on a link older than the pause"],
)
def test_what_was_under_way_when_the_pause_began_ends_nothing(trying: bool, sent_s: float) -> None:
    pauses = paused()
    if trying:
        tried(pauses, WHOLE, 105.0)
    assert pauses.accepted({"a"}, sent_s) == []
    assert WHOLE in pauses


def test_a_topic_pauses_alone() -> None:
    pauses = paused("a")
    assert not pauses.rests(101.0)
    a, b, c = held("a", "b", "a")
    assert pauses.sift([a, b, c], 101.0) == ([b], [([a, c], 4.0)], False)


def test_a_topic_is_cleared_by_a_push_of_its_own_and_by_no_other() -> None:
    pauses = paused("a")
    tried(pauses, "a", 105.0)
    assert pauses.accepted({"b"}, 106.0) == []
    # on whatever link: those of a topic are not replaced
    assert pauses.accepted({"a", "b"}, 50.0) == ["a"]


def test_a_topic_and_its_credential_may_pause_together() -> None:
    pauses = paused("a")
    pauses.refused(WHOLE, "Forbidden", 103.0)
    send, put_off, _ = pauses.sift(held("a", "b"), 104.0)
    assert send == []
    assert sum(len(some) for some, _ in put_off) == 2
    assert "a for InvalidProviderToken x1" in repr(pauses) and "all for Forbidden x1" in repr(pauses)


def test_of_too_many_topics_the_first_is_let_go_and_the_credential_stays() -> None:
    pauses = paused(WHOLE)
    for number in range(TOPICS_MOST):
        pauses.refused(f"topic-{number}", REASON, 100.0)
    assert len(list(pauses)) == TOPICS_MOST
    assert WHOLE in pauses and "topic-0" not in pauses and f"topic-{TOPICS_MOST - 1}" in pauses


def test_topics_that_are_paused_cost_pushes_for_others_next_to_nothing() -> None:
    pauses, looked = Pauses(OPTIONS), 0
    for number in range(TOPICS_MOST):
        pauses.refused(f"topic-{number}", REASON, 100.0)

    class Counting(list[Held]):
        def __iter__(self) -> Iterator[Held]:
            nonlocal looked
            looked += 1
            return super().__iter__()

    assert pauses.sift(Counting(held("a", "b")), 101.0) == (held("a", "b"), [], False)
    assert looked == 1
