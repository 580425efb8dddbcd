"""Scripts match what they say and decode strictly; the ledger counts and forgets nothing."""

import uuid

import msgspec
import pytest

from loadtest.simulator.actions import Answer, Judge, Silence
from loadtest.simulator.ledger import NO_ANSWER, Ledger, Sighting
from loadtest.simulator.script import Facts, Match, Rule, Script, decode_rules


def facts(**fields: object) -> Facts:
    usual = {
        "connection": 1,
        "nth": 1,
        "team": "TEAM000001",
        "topic": "com.example.app",
        "push_type": "alert",
        "token": "ab" * 32,
        "apns_id": "6d1c3b52-8a54-4f0c-9a0f-0d3b0c7b8a11",
        "attempt": 1,
    }
    return Facts(**{**usual, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("match", "other"),
    [
        ({"team": "TEAM000001"}, {"team": "TEAM000002"}),
        ({"topic": "com.example.app"}, {"topic": "com.example.other"}),
        ({"push_type": "alert"}, {"push_type": "voip"}),
        ({"token_prefix": "abab"}, {"token": "cd" * 32}),
        ({"connection": 1}, {"connection": 2}),
        ({"nth": 1}, {"nth": 2}),
        ({"attempt": 1}, {"attempt": 2}),
    ],
)
def test_every_field_of_a_match_must_agree(match: dict[str, object], other: dict[str, object]) -> None:
    script = Script([Rule(match=msgspec.convert(match, Match), then=(Silence(),))])
    assert script.for_request(facts()) is not None
    assert script.for_request(facts(**other)) is None


def test_the_first_rule_that_matches_is_the_one() -> None:
    script = Script([Rule(name="a", match=Match(nth=2), then=()), Rule(name="b", then=())])
    named = [script.for_request(facts(nth=nth)) for nth in (1, 2, 3)]
    assert [rule and rule.name for rule in named] == ["b", "a", "b"]


def test_a_rule_skips_and_is_spent() -> None:
    script = Script([Rule(then=(), skip=2, times=3)])
    assert [script.for_request(facts()) is not None for _ in range(7)] == [0, 0, 1, 1, 1, 0, 0]


def test_a_share_is_the_same_in_any_order_and_draws_again_for_a_new_attempt() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(2000)]

    def hit(seed: int, ids: list[str], attempt: int = 1) -> set[str]:
        script = Script([Rule(match=Match(share=0.3), then=())], seed)
        return {one for one in ids if script.for_request(facts(apns_id=one, attempt=attempt))}

    first = hit(7, ids)
    assert 500 < len(first) < 700
    assert hit(7, ids[::-1]) == first
    assert hit(8, ids) != first
    assert hit(7, ids, attempt=2) != first


def test_a_rule_without_a_fate_judges_last_unless_it_ends_the_connection() -> None:
    rules = decode_rules(
        b'[{"then":[{"do":"goaway"}]}, {"then":[{"do":"goaway"},{"do":"close"}]},'
        b'{"then":[{"do":"answer","reason":"Shutdown"},{"do":"close"}]}]'
    )
    assert [rule.fate for rule in rules] == [Judge(), None, Answer(reason="Shutdown")]
    assert [len(list(rule.steps())) for rule in rules] == [2, 2, 2]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (b'[{"then":[],"wenn":1}]', r"unknown field `wenn` - at `\$\[0\]`"),
        (b'[{"match":{"shar":0.1},"then":[]}]', r"unknown field `shar` - at `\$\[0\].match`"),
        (b'[{"match":{"share":1.1},"then":[]}]', r"share: must be 0 to 1.*\$\[0\].match"),
        (b'[{"then":[{"do":"jump"}]}]', r"Invalid value 'jump' - at `\$\[0\].then\[0\].do`"),
        (b'[{"then":[{"do":"answer"}]}]', "status: required"),
        (b'[{"then":[{"do":"goaway","code":"OOPS"}]}]', "code: 'OOPS' is no HTTP/2 error code"),
        (b'[{"then":[{"do":"delay","delay_s":-1}]}]', "delay_s: must be 0 to 86400"),
        (b'[{"then":[{"do":"judge"},{"do":"silence"}]}]', "then: more than one of judge"),
        (b'[{"at":"connect","then":[{"do":"judge"}]}]', "then: a rule at connect cannot judge"),
        (b'{"then":[]}', "Expected `array`"),
    ],
)
def test_a_bad_rule_is_refused_with_the_place_of_the_fault(rules: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_rules(rules)


def record(ledger: Ledger, apns_id: str, status: int, reason: str = "", stream_id: int = 1) -> None:
    ledger.record(
        apns_id,
        at_s=1.5,
        connection=3,
        stream_id=stream_id,
        team="TEAM000001",
        topic="com.example.app",
        status=status,
        reason=reason,
        device_token=b"ab" * 32,
    )


def test_the_ledger_knows_every_attempt_and_what_was_accepted_twice() -> None:
    ledger = Ledger()
    once, twice, never = (str(uuid.uuid4()) for _ in range(3))
    record(ledger, once, 200)
    record(ledger, twice, 503, "Shutdown", 5)
    record(ledger, never, NO_ANSWER, "silence")
    record(ledger, twice.upper(), 200, stream_id=7)
    record(ledger, twice, 200, stream_id=9)
    record(ledger, twice, 200, stream_id=11)
    assert [ledger.accepted(one) for one in (once, twice, never, str(uuid.uuid4()))] == [1, 3, 0, 0]
    assert [(a.stream_id, a.status, a.reason) for a in ledger.attempts(twice)] == [
        (5, 503, "Shutdown"),
        (7, 200, ""),
        (9, 200, ""),
        (11, 200, ""),
    ]
    assert ledger.attempt_count(twice) == 4
    summary = ledger.summary()
    assert (summary["attempts"], summary["apns_ids"], summary["accepted"], summary["repeated"]) == (
        6,
        3,
        2,
        1,
    )
    assert summary["refused"] == {"Shutdown": 1}
    assert summary["unanswered"] == {"silence": 1}
    assert [entry["apns_id"] for entry in ledger.entries()] == [once, twice, never]
    assert repr(ledger) == "<Ledger attempts=6 accepted=2 repeated=1>"


def test_the_ledger_keeps_no_device_token() -> None:
    ledger = Ledger()
    apns_id = str(uuid.uuid4())
    record(ledger, apns_id, 200)
    (attempt,) = ledger.attempts(apns_id)
    assert len(attempt.device_hash) == 16
    assert attempt.device_hash not in "ab" * 32


def sighting(team: int, fingerprint: bytes) -> Sighting:
    return Sighting(
        at_s=1.0, team=f"TEAM00000{team}", key_id=f"KEY000000{team}", fingerprint=fingerprint, issued_at_s=0
    )


def test_the_ledger_names_teams_per_connection_and_bearers_per_key() -> None:
    ledger = Ledger()
    ledger.opened()
    first, second, third = sighting(1, b"a"), sighting(1, b"b"), sighting(2, b"c")
    for connection, token in ((1, first), (1, second), (2, first), (2, third)):
        ledger.seen(connection, token)
    assert ledger.sightings() == {1: (first, second), 2: (first, third)}
    assert ledger.teams(2) == {"TEAM000001", "TEAM000002"}
    assert ledger.summary()["teams_per_connection_max"] == 2
    assert ledger.summary()["bearers_per_key"] == {"KEY0000001": 2, "KEY0000002": 1}
    ledger.clear()
    assert ledger.summary()["connections_opened"] == 0
    assert ledger.summary()["attempts"] == 0
