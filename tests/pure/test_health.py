"""How a link gets on, from its times, and what is done about one that does not, as tables."""

from typing import Any

import pytest

from engine.policy.health import Care, Health, LinkFacts, care
from engine.policy.links import LinkOptions

OPTIONS = LinkOptions(silent_s=10, stuck_s=30, faults_most=20)
WELL = LinkFacts(silent_s=0.0, pinged_s=0.0, unanswered=False, stuck_s=0.0, faults=0)


@pytest.mark.parametrize(
    ("facts", "done"),
    [
        ({}, Care.NOTHING),
        ({"silent_s": 4.9}, Care.NOTHING),
        ({"silent_s": 5.0}, Care.PING),
        ({"silent_s": 5.0, "pinged_s": 0.1}, Care.NOTHING),
        ({"silent_s": 9.9, "pinged_s": 4.9}, Care.NOTHING),
        ({"silent_s": 10.0, "pinged_s": 5.0}, Care.ABORT),
        # it was this worker that stood still: answers wait to be read
        ({"silent_s": 60.0}, Care.PING),
        ({"silent_s": 60.0, "pinged_s": 4.9}, Care.NOTHING),
        # after a rest, less patience
        ({"silent_s": 1.5, "rested_s": 60.0}, Care.PING),
        ({"silent_s": 3.0, "pinged_s": 1.5, "rested_s": 60.0}, Care.ABORT),
        ({"silent_s": 3.0, "pinged_s": 1.5, "rested_s": 59.9}, Care.NOTHING),
        ({"unanswered": True}, Care.RETIRE),
        ({"stuck_s": 29.9}, Care.NOTHING),
        ({"stuck_s": 30.0}, Care.RETIRE),
        ({"faults": 19}, Care.NOTHING),
        ({"faults": 20}, Care.RETIRE),
        ({"faults": 20, "silent_s": 10.0, "pinged_s": 5.0}, Care.ABORT),
        ({"unanswered": True, "silent_s": 5.0}, Care.RETIRE),
    ],
)
def test_the_care_of_a_link(facts: dict[str, Any], done: Care) -> None:
    assert care(WELL._replace(**facts), OPTIONS) is done


def test_what_is_under_way_is_given_up_only_for_silence() -> None:
    facts = WELL._replace(unanswered=True, stuck_s=1e6, faults=10**6)
    assert care(facts, OPTIONS) is not Care.ABORT


def streams(*ids: int) -> dict[int, Any]:
    return dict.fromkeys(ids)


def facts(health: Health, now_s: float, *, busy: bool = True, starved: bool = False) -> LinkFacts:
    return health.facts(now_s, busy=busy, starved=starved, usable=True)


def test_the_last_push_of_a_batch_is_timed_and_one_batch_at_a_time() -> None:
    health = Health(0.0)
    health.wrote(9, 1.0)
    health.wrote(19, 1.5)
    assert health.lately_s(1.75) == 0.75
    health.heard(streams(9, 11), 2.0)
    assert health.trip.told() == []
    health.heard(streams(11), 3.0)
    assert (health.trip.told(), health.lately_s(9.0)) == ([2.0], 2.0)
    # the second batch was written while the first was timed
    health.heard(streams(), 4.0)
    assert health.trip.told() == []
    assert health.idle_s(4.0) == 2.5


def test_streams_are_late_by_the_batch_they_were_written_with() -> None:
    health = Health(0.0)
    for last_id, at_s in ((3, 1.0), (7, 2.0), (11, 3.0)):
        health.wrote(last_id, at_s)
    assert health.late(streams(3, 5, 7, 9, 11), 0.9) == ([], 1.0)
    assert health.late(streams(3, 5, 7, 9, 11), 2.0) == ([3, 5, 7], 1.0)
    assert health.late(streams(9, 11), 2.5) == ([], 3.0)
    assert health.late(streams(), 9.0) == ([], 0.0)


@pytest.mark.parametrize(
    ("answered_at_s", "any_answered", "unanswered"),
    [(0.5, False, True), (1.5, False, False), (0.5, True, False)],
)
def test_a_link_answers_nothing_if_none_of_the_late_nor_any_other_since_they_were_written_was_answered(
    answered_at_s: float, any_answered: bool, unanswered: bool
) -> None:
    health = Health(0.0)
    if answered_at_s < 1.0:
        health.heard(streams(), answered_at_s)
        health.answered()
    health.wrote(3, 1.0)
    health.wrote(5, 1.2)
    if answered_at_s > 1.0:
        health.heard(streams(1, 5), answered_at_s)
        health.answered()
    late, since_s = health.late(streams(1, 5), 1.0)
    assert late == [1]
    health.cancelled(since_s, any_answered=any_answered)
    assert facts(health, 2.0).unanswered is unanswered
    health.answered()
    assert not facts(health, 2.0).unanswered


def test_silence_counts_from_what_was_heard_or_written_and_a_ping_until_something_is_heard() -> None:
    health = Health(0.0)
    assert facts(health, 70.0, busy=False) == WELL
    health.wrote(3, 70.0)
    assert facts(health, 75.0) == WELL._replace(silent_s=5.0, rested_s=70.0)
    health.pinged(75.0)
    assert facts(health, 76.0) == WELL._replace(silent_s=6.0, pinged_s=1.0, rested_s=70.0)
    health.heard(streams(3), 77.0)
    assert facts(health, 78.0) == WELL._replace(silent_s=1.0)


def test_a_link_is_stuck_since_it_last_took_something_whatever_is_heard() -> None:
    health = Health(0.0)
    assert facts(health, 5.0, busy=False, starved=True).stuck_s == 0.0
    health.heard(streams(), 8.0)
    assert facts(health, 9.0, busy=False, starved=True).stuck_s == 4.0
    health.wrote(3, 10.0)
    health.heard(streams(), 10.5)
    assert facts(health, 12.0, busy=False, starved=True).stuck_s == 2.0
    assert facts(health, 13.0, busy=False).stuck_s == 0.0
    assert facts(health, 14.0, busy=False, starved=True).stuck_s == 0.0


def test_refused_streams_are_one_fault_a_batch_and_a_good_answer_forgives_all() -> None:
    health = Health(0.0)
    for at_s in (1.0, 2.0):
        health.heard(streams(), at_s)
        health.refused()
        health.refused()
    health.failed()
    assert facts(health, 3.0, busy=False).faults == 3
    draining = health.facts(3.0, busy=False, starved=True, usable=False)
    assert draining == WELL
    health.accepted()
    assert facts(health, 3.0, busy=False).faults == 0
