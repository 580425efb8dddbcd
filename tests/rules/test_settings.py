"""Every setting of the profiles is measured, or it is said why not; and what a profile says was measured has a case."""

from __future__ import annotations

from loadtest.bench.cells import on_slow_memory
from loadtest.bench.report import read_results
from loadtest.bench.tuning import wanted_settings
from loadtest.bench.tuning_cases import CASES, WHY_NOT
from tuning.profile import NAMES, load

MEASURED = {(case.kind, case.name) for case in CASES}


def test_every_setting_has_a_case_or_a_reason_why_there_is_none() -> None:
    assert MEASURED | set(WHY_NOT) == set(wanted_settings())
    assert not MEASURED & set(WHY_NOT)


def test_a_setting_says_what_was_measured_exactly_if_it_has_a_case() -> None:
    for name in NAMES:
        settings = load(name).setting
        assert {(each.kind, each.name) for each in settings if each.measured} == MEASURED & {
            (each.kind, each.name) for each in settings
        }


def test_a_case_has_another_value_than_the_profiles_want() -> None:
    wanted = wanted_settings()
    for case in CASES:
        want = wanted[case.kind, case.name].want
        assert case.without not in map(str, want if isinstance(want, list) else [want])


def test_the_last_result_is_of_all_settings() -> None:
    result = on_slow_memory(read_results())["tuning"]
    told = {(each["kind"], each["name"]) for part in ("settings", "not_measured") for each in result[part]}
    assert told == {(kind.value, name) for kind, name in wanted_settings()}
