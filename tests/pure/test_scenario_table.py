"""The table of field scenarios is whole, can be told in JSON, and narrows to one team or connection."""

import msgspec
import pytest

from loadtest.simulator.actions import Delay
from loadtest.simulator.scenarios import SCENARIOS, narrowed, scenario
from loadtest.simulator.script import Facts, Match, Rule, Script, decode_rules


def test_every_failure_from_s1_to_s37_is_there_once_with_a_name_and_a_sentence() -> None:
    assert list(SCENARIOS) == [f"S{number}" for number in range(1, 38)]
    names = [each.name for each in SCENARIOS.values()]
    assert len(set(names)) == 37 and all(name and name == name.lower() for name in names)
    assert all(len(each.does.split()) > 3 for each in SCENARIOS.values())


@pytest.mark.parametrize("number", list(SCENARIOS))
def test_a_scenario_is_rules_that_could_have_been_sent_as_json(number: str) -> None:
    rules = list(SCENARIOS[number].rules)
    assert decode_rules(msgspec.json.encode(rules)) == rules


@pytest.mark.parametrize("name", ["S14", "s14", " S14", "graceful goaway", "Graceful-Goaway"])
def test_a_scenario_is_found_by_number_and_by_name(name: str) -> None:
    assert scenario(name) is SCENARIOS["S14"]


def test_an_unknown_scenario_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"name: 'S38' is no scenario; write one of S1 \(one stream opening\), S2"
    ):
        scenario("S38")


def test_a_scenario_narrows_to_a_team_and_to_a_connection_and_slows_down() -> None:
    rules = [Rule(match=Match(old=True, nth=3), then=(Delay(delay_s=2.0),)), Rule(at="connect", then=())]
    [request, connect] = narrowed(rules, team="TEAM000001", connection=7, slowness=0.5)
    assert request.match == Match(nth=3, team="TEAM000001", connection=7)
    assert request.then == (Delay(delay_s=1.0),)
    assert connect.match == Match(connection=7)


@pytest.mark.parametrize(("connections", "old"), [(0, {1}), (1, {1}), (3, {1, 2, 3})])
def test_old_connections_are_those_there_were_or_the_first(connections: int, old: set[int]) -> None:
    def facts(connection: int) -> Facts:
        return Facts(connection, 1, "T", "t", "alert", "ab", "6d1c3b52-8a54-4f0c-9a0f-0d3b0c7b8a11", 1)

    script = Script([Rule(match=Match(old=True), then=())], connections=connections)
    assert {number for number in range(1, 6) if script.for_request(facts(number))} == old
    script = Script([Rule(at="connect", match=Match(old=False), then=())], connections=connections)
    assert {number for number in range(1, 6) if script.for_connection(number)} == set(range(1, 6)) - old
