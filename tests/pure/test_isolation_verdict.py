"""The verdict of isolation: the neighbour's times, connections against what policy allows, and coming back."""

from collections.abc import Mapping
from typing import Any

import pytest

from engine.policy.links import LinkOptions
from engine.policy.pause import PauseOptions
from loadtest.bench.isolation_verdict import (
    Attempt,
    Course,
    Phase,
    Resumed,
    attempts,
    dials_most,
    failures,
    opened,
    record,
    refused,
    resumed,
    told,
    tries_most,
)
from loadtest.bench.judgement import judge
from loadtest.bench.steady import Exchange
from loadtest.bench.waits import NO_WAITS, Span, Waits

IDS = [b"%036d" % number for number in range(8)]
LEDGER: Mapping[str, Any] = {"protocol_errors": {}, "attempts": 9, "teams_per_connection_max": 1}
GOOD = Course(
    60.0,
    waits={phase: Waits(100, 0.002, 0.004, 0.01) for phase in Phase},
    opened=dict.fromkeys(Phase, (2, 0)),
    silent=dict.fromkeys(Phase, 1),
    allowed=dict.fromkeys(Phase, 3),
    refused=dict.fromkeys(Phase, 0),
    resumed={phase: Resumed(0.5, 9.0) for phase in (Phase.RELEASED, Phase.REPLACED)},
)


def entry(apns_id: bytes, *made: tuple[float, int, str, int]) -> dict[str, Any]:
    """As the ledger's door gives it: (at_s, connection, team, status) of each attempt."""
    keys = ("at_s", "connection", "team", "status")
    return {"apns_id": apns_id.decode(), "attempts": [dict(zip(keys, each, strict=True)) for each in made]}


MADE = attempts(
    [
        entry(IDS[0], (9.0, 3, "A", 403), (12.0, 4, "A", 403), (30.0, 5, "A", 200)),
        entry(IDS[1], (10.0, 1, "B", 200)),
        entry(IDS[2], (11.0, 3, "A", 0)),
        entry(IDS[3], (31.0, 5, "A", 200), (32.0, 6, "A", 200)),
    ]
)


def wrong(course: Course, ledger: Mapping[str, Any] = LEDGER) -> list[str]:
    sent = [Exchange(0.0, 0.1, "accepted", 1, IDS[1])]
    return failures(judge(sent, record(MADE[1:2])), course, ledger, True, 0)


def test_attempts_are_in_order_of_time() -> None:
    assert [(each.at_s, each.connection) for each in MADE] == [
        *((9.0, 3), (10.0, 1), (11.0, 3), (12.0, 4), (30.0, 5), (31.0, 5), (32.0, 6))
    ]
    assert MADE[0] == Attempt(9.0, IDS[0], 3, "A", 403)


def test_only_what_was_accepted_is_on_record() -> None:
    assert [(piece.at_s, piece.ids) for piece in record(MADE)] == [
        *((10.0, [IDS[1]]), (30.0, [IDS[0]]), (31.0, [IDS[3]]), (32.0, [IDS[3]]))
    ]


def test_a_connection_counts_once_where_its_first_push_came() -> None:
    assert opened(MADE, "A", Span(10.0, 20.0)) == 1
    assert opened(MADE, "A", Span(0.0, 40.0)) == 4
    assert opened(MADE, "B", Span(0.0, 40.0)) == 1


def test_refusals_are_answers_and_silence_is_none() -> None:
    assert refused(MADE, "A", Span(0.0, 40.0)) == 2
    assert refused(MADE, "A", Span(10.0, 40.0)) == 1


def test_a_tenant_is_back_with_its_first_push_and_drained_with_the_last_that_was_due_before() -> None:
    sent = [
        Exchange(5.0, 5.1, "accepted", 2, IDS[0] + IDS[1]),
        Exchange(11.0, 11.1, "accepted", 1, IDS[2]),
        Exchange(6.0, 6.1, "accepted", 1, IDS[3], 1),
    ]
    first_s = {IDS[0]: 9.0, IDS[1]: 14.0, IDS[2]: 12.0, IDS[3]: 10.5}
    assert resumed(sent, first_s, 0, Span(10.0, 20.0)) == Resumed(2.0, 4.0)
    assert resumed(sent, {IDS[0]: 9.0, IDS[1]: 25.0}, 0, Span(10.0, 20.0)) == Resumed(None, 15.0)
    assert resumed(sent, {IDS[2]: 12.0}, 0, Span(10.0, 20.0)) == Resumed(2.0, None)


def test_the_connections_that_policy_allows_follow_from_its_delays() -> None:
    links = LinkOptions(redial_first_s=1.0, redial_most_s=4.0, pause=PauseOptions(first_s=5.0, most_s=900.0))
    # two at once, then half of 1, 2, 4, 4, 4 ... seconds apart
    assert [dials_most(links, seconds) for seconds in (0.0, 0.5, 1.5, 3.5, 5.5, 7.5)] == [2, 3, 4, 5, 6, 7]
    # one elsewhere, then after pauses of 5, 10, 20, 40 s
    assert [tries_most(links, seconds) for seconds in (4.9, 5.0, 15.0, 35.0, 60.0, 75.0)] == [
        1,
        2,
        3,
        4,
        4,
        5,
    ]


def test_a_run_in_which_nobody_noticed_has_no_failures() -> None:
    assert wrong(GOOD) == []


@pytest.mark.parametrize(
    ("course", "words"),
    [
        (
            GOOD._replace(waits={**GOOD.waits, Phase.REVOKED: Waits(9, 0.001, 0.0062, 0.01)}),
            "revoked: p99 of B was 1.55 times its usual",
        ),
        (GOOD._replace(waits={**GOOD.waits, Phase.REVOKED: NO_WAITS}), "revoked: p99 of B was inf times"),
        (GOOD._replace(opened={**GOOD.opened, Phase.BLACK_HOLE: (3, 9)}), "black_hole: 4 connections for A"),
        (GOOD._replace(silent={**GOOD.silent, Phase.BLACK_HOLE: 2}), "black_hole: 4 connections for A"),
        (
            GOOD._replace(resumed={**GOOD.resumed, Phase.REPLACED: Resumed(None, None)}),
            "replaced: A did not come back",
        ),
        (
            GOOD._replace(resumed={**GOOD.resumed, Phase.RELEASED: Resumed(10.1, 11.0)}),
            "released: A came back after 10.1 s",
        ),
    ],
)
def test_whatever_passes_its_bound_is_said(course: Course, words: str) -> None:
    [failure] = wrong(course)
    assert words in failure


def test_a_connection_of_two_teams_or_a_broken_protocol_is_a_failure() -> None:
    assert wrong(GOOD, {**LEDGER, "teams_per_connection_max": 2})
    assert wrong(GOOD, {**LEDGER, "protocol_errors": {"ProtocolError": 1}})


def test_the_phases_are_told_by_the_minute() -> None:
    said = told(GOOD._replace(seconds=30.0))
    per_minute = said["revoked"]["connections_per_minute"]
    assert list(per_minute.values()) == [4.0, 0.0, 2.0, 6.0]
    assert "a_flows_after_s" not in said["revoked"]
    assert (said["replaced"]["a_flows_after_s"], said["replaced"]["a_drained_after_s"]) == (0.5, 9.0)
    assert said["replaced"]["b_p99_times"] == 1.0
