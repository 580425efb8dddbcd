"""Profiles of hosts, how one is judged by them, the files they make, and how large everything must be."""

import configparser
from typing import Any

import msgspec
import pytest

from runtime.options import OptionError
from tuning.files import Format, text
from tuning.host import found
from tuning.profile import NAMES, Kind, Profile, Setting, Test, load
from tuning.size import HEADER_BYTES, WINDOW_BYTES, Costs, Need, per_link, size
from tuning.verdict import State, holds, how, judge


def setting(**fields: Any) -> Setting:
    plain: dict[str, Any] = {"kind": Kind.SYSCTL, "name": "net.x.y", "want": 5, "why": "w", "source": "s"}
    return Setting(**{**plain, **fields})


@pytest.mark.parametrize(
    ("test", "want", "good", "bad"),
    [
        (Test.AT_LEAST, 5, ["5", "6", "unlimited"], ["4", "", "x"]),
        (Test.AT_MOST, 5, ["5", "0"], ["6", "unlimited", ""]),
        (Test.IS, 0, ["0"], ["1", "00", ""]),
        (Test.IS, "", [""], ["3600 1"]),
        (Test.ONE_OF, ["a", "b"], ["a", "b"], ["c", "", "a b"]),
        (Test.AT_LEAST_EACH, [1, 2, 3], ["1 2 3", "9 9 9"], ["1 2 2", "1 2", "1 2 3 4", "0 9 9"]),
        (Test.RANGE, [100, 200], ["100 200", "1 65535"], ["101 200", "100 199", "100", ""]),
    ],
)
def test_a_value_is_compared_as_its_setting_says(
    test: Test, want: Any, good: list[str], bad: list[str]
) -> None:
    compared = setting(test=test, want=want)
    assert all(holds(compared, value) for value in good)
    assert not any(holds(compared, value) for value in bad)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_has_a_reason_and_a_source_for_each_setting_and_names_none_twice(name: str) -> None:
    profile = load(name)
    places = [(each.kind, each.name) for each in profile.setting]
    assert len(places) == len(set(places)) > 8
    assert all(len(each.why) > 20 and each.source for each in profile.setting)


def test_every_setting_of_a_profile_exists_on_this_kernel() -> None:
    # a container may hide some, so a name is also good if its folder has no such neighbours at all
    wanted = [each for name in NAMES for each in load(name).of(Kind.SYSCTL, Kind.FILE, Kind.LIMIT)]
    seen = found(wanted)
    missing = {each.name for each in wanted if (each.kind, each.name) not in seen}
    assert not {name for name in missing if name.startswith("vm.") or name == "nofile"}
    assert len(missing) <= len({each.name for each in wanted}) // 2


def test_what_can_not_be_read_is_said_with_where_to_look() -> None:
    profile = Profile(
        summary="x",
        setting=[
            setting(),
            setting(name="net.x.z"),
            setting(kind=Kind.REDIS, name="save", want="", test=Test.IS),
        ],
    )
    findings = judge(profile, {(Kind.SYSCTL, "net.x.y"): "4"})
    assert [each.state for each in findings] == [State.CHANGE, State.UNKNOWN, State.UNKNOWN]
    assert findings[0].text.startswith("sysctl -w net.x.y=5: w")
    assert "look on the host" in findings[1].text and "--redis-url" in findings[2].text


def test_a_value_of_several_words_is_quoted_for_the_shell() -> None:
    assert how(setting(want=[1, 2], test=Test.RANGE)) == 'sysctl -w net.x.y="1 2"'


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_a_profile_set_what_it_wants(name: str) -> None:
    profile = load(name)
    sysctls = dict(
        line.split(" = ", 1)
        for line in text(profile, Format.SYSCTL).splitlines()
        if line and not line.startswith("#")
    )
    for each in profile.of(Kind.SYSCTL):
        if each.test is Test.ONE_OF:
            assert each.name not in sysctls
        else:
            assert holds(each, sysctls.pop(each.name))
    assert sysctls == {}
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text(profile, Format.SYSTEMD))
    assert dict(unit["Service"]) == {each.name: str(each.want) for each in profile.of(Kind.SYSTEMD)}


def test_what_holds_already_is_not_made_worse() -> None:
    profile = Profile(summary="x", setting=[setting()])
    assert "net.x.y = 5" in text(profile, Format.SYSCTL).splitlines()
    lines = text(profile, Format.SYSCTL, {"net.x.y": "9"}).splitlines()
    assert "# net.x.y is 9, which will do" in lines and "net.x.y = 5" not in lines


@pytest.mark.parametrize("kind", [Kind.SYSCTL, Kind.FILE, Kind.LIMIT, Kind.SYSTEMD, Kind.REDIS])
def test_what_was_measured_stands_below_the_reason_and_is_told_with_what_to_do(kind: Kind) -> None:
    forms = {Kind.LIMIT: Format.LIMITS, Kind.SYSTEMD: Format.SYSTEMD, Kind.REDIS: Format.REDIS}
    profile = Profile(summary="x", setting=[setting(kind=kind, measured="3 ms in place of 9")])
    lines = text(profile, forms.get(kind, Format.SYSCTL)).splitlines()
    assert lines[lines.index("# w (s)") + 1] == "# measured: 3 ms in place of 9"
    assert all(
        "measured" not in line for line in text(Profile(summary="x", setting=[setting()]), Format.SYSCTL)
    )
    for finding in judge(profile, {(kind, "net.x.y"): "4"}):
        assert finding.text.endswith("w (s); measured: 3 ms in place of 9")


def test_what_was_measured_with_a_smaller_value_is_told_of_a_larger_one() -> None:
    small, large = (
        next(each for each in load(name).setting if each.name == "net.core.somaxconn")
        for name in ("small", "large")
    )
    assert small.want != large.want and small.measured == large.measured != ""


def test_a_profile_with_an_unknown_word_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"summary": "x", "setting": [], "seting": []}, type=Profile)


NEED = Need(per_s=50_000, rtt_s=0.08, payload_bytes=300)


def test_a_link_takes_what_its_window_or_its_streams_hold_for_each_round_trip() -> None:
    assert per_link(NEED) == pytest.approx(WINDOW_BYTES / (300 + HEADER_BYTES) / 0.08)
    small = NEED._replace(payload_bytes=1)
    assert per_link(small._replace(rtt_s=1.0)) == pytest.approx(WINDOW_BYTES / 151)
    assert per_link(NEED._replace(rtt_s=0.0)) == float("inf")


def test_all_links_of_all_workers_together_carry_the_rate() -> None:
    for per_s in (100, 50_000, 400_000):
        for rtt_s in (0.0, 0.02, 0.15):
            need = NEED._replace(per_s=per_s, rtt_s=rtt_s)
            found_size = size(need)
            assert found_size.links * found_size.workers * per_link(need) >= per_s
            assert found_size.workers * 1e6 / Costs().engine * (2 / 3) >= per_s


def test_singles_cost_more_processes_than_batches_and_more_credentials_more_descriptors() -> None:
    singles = size(NEED._replace(singles=True))
    assert singles.ingest_processes > size(NEED).ingest_processes
    assert singles.workers > size(NEED).workers and singles.redis_busy > 1 > size(NEED).redis_busy
    assert size(NEED._replace(credentials=500)).worker_descriptors >= 500
    assert size(NEED._replace(backlog=2_000_000)).redis_mib == pytest.approx(2 * size(NEED).redis_mib, abs=1)


@pytest.mark.parametrize("field", ["per_s", "payload_bytes", "credentials"])
def test_what_can_not_be_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(OptionError, match="write a number from"):
        size(NEED._replace(**{field: 0}))
    with pytest.raises(OptionError, match="write a number from"):
        size(NEED._replace(**{field: float("nan")}))


def test_other_costs_make_other_sizes() -> None:
    assert size(NEED, Costs(engine=80.0)).workers > size(NEED).workers
