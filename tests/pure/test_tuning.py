"""A benchmark of settings goes on where this host refuses one, and says why."""

from collections.abc import Sequence

import pytest

from loadtest.bench import tuning
from loadtest.bench.namespace import Refused
from loadtest.bench.tuning import TuningOptions
from loadtest.bench.tuning_cases import Case
from loadtest.bench.tuning_verdict import Figure
from tuning.profile import Kind

CONGESTION = "net.ipv4.tcp_congestion_control"


def case(name: str, refused: dict[str, str], turns: list[tuple[str, int]], each: bool = False) -> Case:
    def measure(value: str, turn: int) -> Sequence[float]:
        turns.append((value, turn))
        if value in refused:
            raise Refused(refused[value])
        return [len(value), turn]

    figures = [Figure("its letters", "letters"), Figure("its round", "rounds")]
    return Case(Kind.SYSCTL, name, "reno", figures, measure, each)


def run(monkeypatch: pytest.MonkeyPatch, made: Case) -> tuple[list[str], list[str]]:
    """What was measured with which values, and why the rest was not."""
    monkeypatch.setattr(tuning, "CASES", (made,))
    result = tuning.run(TuningOptions(only=(made.name,), rounds=2))
    measured = [
        f"{each['what']}: {each['without']['runs']} {each['with']['value']} {each['with']['runs']}"
        for each in result["settings"]
    ]
    return measured, [each["why"] for each in result["not_measured"]]


def test_values_take_turns_and_all_that_would_do_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []
    measured, missing = run(monkeypatch, case(CONGESTION, {}, turns, each=True))
    assert turns == [(value, turn) for turn in range(2) for value in ("reno", "bbr", "cubic")]
    assert measured == [
        "its letters: [4.0, 4.0] bbr [3.0, 3.0]",
        "its round: [0.0, 1.0] bbr [0.0, 1.0]",
        "its letters: [4.0, 4.0] cubic [5.0, 5.0]",
        "its round: [0.0, 1.0] cubic [0.0, 1.0]",
    ]
    assert missing == []


def test_a_value_that_is_refused_is_not_tried_again_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[tuple[str, int]] = []
    measured, missing = run(monkeypatch, case(CONGESTION, {"bbr": "no bbr here"}, turns, each=True))
    assert turns.count(("bbr", 0)) == 1 and ("bbr", 1) not in turns
    assert [said.split()[-3] for said in measured] == ["cubic", "cubic"]
    assert missing == ["no bbr here"]


def test_a_setting_that_is_refused_altogether_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"reno": "no namespace", "bbr": "no namespace"}
    assert run(monkeypatch, case(CONGESTION, refused, [])) == ([], ["no namespace"])


def test_a_setting_that_no_machine_can_measure_is_told_with_the_reason() -> None:
    [said] = tuning.run(TuningOptions(only=("vm.swappiness",)))["not_measured"]
    assert said["name"] == "vm.swappiness" and "host" in said["why"]


def test_a_name_that_no_profile_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"net\.x"):
        tuning.run(TuningOptions(only=("net.x",)))
