"""What a run of Locust came to: its counts, who was at its end, and what makes it a failure."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.judgement import judge
from loadtest.sink.recorder import Piece
from loadtest.swarm.answers import Finding
from loadtest.swarm.bottleneck import End, Look, Verdict, busiest, in_words, mean_share, others_share, verdict
from loadtest.swarm.options import OptionError, Tenant, tenants_of, validate
from loadtest.swarm.report import Course, Run, failures, told
from loadtest.swarm.tally import Tally, lines

IDS = [b"%036d" % number for number in range(4)]
ACCEPTED = Finding(ids=b"".join(IDS))
HELD = Finding(held_back={"429 rate-limited": 3}, back_pressure="429 rate-limited", retry_after_s=1)
REFUSED = Finding(refused={"422 bad-payload": 1})
WRONG = Finding(in_doubt=2, wrong="202: an id twice")


def tally_of(*findings: tuple[Finding, int]) -> Tally:
    tally = Tally()
    for finding, pushes in findings:
        tally.add(finding, pushes)
    return tally


def look(machine: float = 1.5, waiting: float = 0.0, **shares: float) -> Look:
    """Of two seconds; shares of a CPU. Locust waited for one for that share of the time."""
    ran = {name.replace("_", "-"): 2 * share for name, share in shares.items()}
    wanted = {name: each + (2 * waiting if name == "locust" else 0) for name, each in ran.items()}
    return Look(2.0, ran, wanted, 2 * machine)


def run(*findings: tuple[Finding, int], came: int = 4, **changes: Any) -> Run:
    tally = tally_of(*findings).told() | {
        "requests_by_name": {
            "Aggregated": {"requests": 4, "failed": 0, "per_s": 100.0, "most_ms": 9.0}
            | {f"{name}_ms": 1.0 for name in ("p50", "p90", "p99", "p99.9")}
        }
    }
    sent = [part for finding, _ in findings for part in finding.exchanges(10.0, 10.1)]
    judgement = judge(sent, [Piece(10.5, 1, IDS[:came])])
    plain = Run(tally, judgement, Course(0, [look(locust=0.5, ingest_0=0.3)]), 2, True, 0)
    return plain._replace(**changes)


def test_every_push_is_counted_once_by_its_fate() -> None:
    told = tally_of((ACCEPTED, 4), (HELD, 3), (REFUSED, 1), (WRONG, 2)).told()
    held, refused = sum(told["held_back"].values()), sum(told["refused"].values())
    assert told["accepted"] + held + refused + told["in_doubt"] == told["pushes"] == 10
    assert (told["requests"], told["failed_requests"], told["back_pressure_requests"]) == (4, 2, 1)
    assert told["wrong"] == {"202: an id twice": 1}


def test_tallies_of_several_processes_add_up() -> None:
    whole = tally_of((ACCEPTED, 4))
    whole.merge(tally_of((HELD, 3), (ACCEPTED, 4)).told())
    assert whole.told() == tally_of((ACCEPTED, 4), (HELD, 3), (ACCEPTED, 4)).told()
    whole.clear()
    assert whole.told() == Tally().told()


def test_a_tally_is_told_in_words() -> None:
    said = list(lines(tally_of((ACCEPTED, 4), (HELD, 3), (REFUSED, 1), (WRONG, 2)).told()))
    assert said == [
        "4 of 10 pushes accepted, in 4 requests",
        "back-pressure: 1 requests, 3 pushes (429 rate-limited ×3)",
        "in doubt: 2 pushes",
        "failures: 2 requests (202: an id twice ×1)",
        "refused: 1 pushes (422 bad-payload ×1)",
    ]


@pytest.mark.parametrize(
    ("looks", "end"),
    [
        ([look(locust=0.95, ingest_0=0.6, worker_0=0.3)], End.LOCUST),
        ([look(locust=0.02, locust_1=0.95, ingest_0=0.6)], End.LOCUST),
        ([look(locust=0.95, ingest_0=0.92)], End.CLARION),
        ([look(locust=0.5, redis=0.99)], End.CLARION),
        ([look(locust=0.5, ingest_0=0.5, sink=0.99)], End.NOBODY),
        ([look(1.95, locust=0.6, ingest_0=0.5)], End.MACHINE),
        # it would have run if it could, and other CPUs were idle
        ([look(1.7, waiting=0.2, locust=0.75, ingest_0=0.3)], End.LOCUST),
        ([look(1.95, waiting=0.2, locust=0.75, ingest_0=0.3)], End.MACHINE),
        ([look(1.95, waiting=0.02, locust=0.92, ingest_0=0.3)], End.LOCUST),
        ([look(locust=0.5, ingest_0=0.5)], End.NOBODY),
        # a ramp is under full load only at its end, and a moment is not enough
        ([look(locust=0.3)] * 8 + [look(locust=0.95)] * 2, End.LOCUST),
        ([look(locust=0.3)] * 19 + [look(locust=0.95)], End.NOBODY),
        ([], End.NOBODY),
    ],
)
def test_who_was_at_its_end(looks: list[Look], end: End) -> None:
    assert verdict(looks, 2).end is end


@pytest.mark.parametrize("end", End)
def test_the_verdict_names_who_it_was_and_what_the_busiest_took(end: End) -> None:
    looks = [look(locust=0.95, ingest_0=0.6, worker_0=0.3), look(locust=0.9, ingest_0=0.7)]
    said = in_words(Verdict(end, 0.5), looks)
    assert "Locust took 95% of a CPU and ingest-0 70%" in said
    assert ("scripts/bench e2e" in said) is (end is End.LOCUST or end is End.MACHINE)


def test_what_locust_waited_for_a_cpu_is_told() -> None:
    said = in_words(Verdict(End.LOCUST, 1.0), [look(waiting=0.2, locust=0.75, redis=0.1)])
    assert "Locust took 75% of a CPU (and waited for one for up to 20% of the time) and redis 10%" in said


def test_a_part_is_all_of_its_processes() -> None:
    looks = [look(worker_0=0.2, worker_1=0.4, redis=0.9), look(worker_0=0.2, worker_1=0.0)]
    assert mean_share(looks, "worker") == pytest.approx(0.4)
    assert busiest(looks, "worker") == ("worker-1", pytest.approx(0.4))
    assert busiest([], "worker") == ("nothing", 0.0)
    assert others_share([look(2.0, locust=0.5, redis=0.5)]) == pytest.approx(0.5)


def test_back_pressure_is_no_failure() -> None:
    seen = run((ACCEPTED, 4), (HELD, 3))
    assert failures(seen) == []
    result = told(seen)
    assert (result["lost"], result["repeated"], result["accepted_by_api"]) == (0, 0, 4)
    assert result["cpu_percent"]["locust"] == 50.0 and result["locust_us_per_request"] == 5000


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (run((HELD, 3)), "no push was accepted"),
        (run((ACCEPTED, 4), (REFUSED, 1)), "1 requests failed"),
        (run((ACCEPTED, 4), came=3), "1 pushes that the API accepted did not come"),
        (run((ACCEPTED, 4), survived=False), "a process of the gateway ended by itself"),
        (run((ACCEPTED, 4), exit_code=3), "exit code after SIGTERM is 3"),
        (run((ACCEPTED, 4), course=Course(2, [])), "Locust's exit code is 2"),
        (
            run((ACCEPTED, 4), tally=tally_of((ACCEPTED, 4), (ACCEPTED, 4)).told()),
            "the log has 4 accepted pushes, and the tally 8",
        ),
    ],
)
def test_a_failure_is_named(seen: Run, said: str) -> None:
    assert any(said in what for what in failures(seen))


def given(**changes: Any) -> Namespace:
    plain: Mapping[str, Any] = {
        "api_key": "",
        "api_keys_file": "",
        "topic": "",
        "batch": 100,
        "payload_bytes": 256,
        "each_per_s": 10.0,
    }
    return Namespace(**{**plain, **changes})


def test_keys_come_from_a_file_with_or_without_topics(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# tenants\nclarion_a com.example.a\n\nclarion_b\n")
    found = tenants_of(given(api_keys_file=str(file), topic="com.example.b"))
    assert found == [Tenant("clarion_a", "com.example.a"), Tenant("clarion_b", "com.example.b")]
    assert "clarion_a" not in repr(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "there is no API key"), ("clarion_a", "has no topic"), ("clarion_a b c", "more than its topic")],
)
def test_a_file_that_can_not_be_used_is_refused_without_a_word_of_it(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(OptionError, match=said) as error:
        tenants_of(given(api_keys_file=str(file)))
    assert "clarion_a" not in str(error.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="can't be read"):
        tenants_of(given(api_keys_file=str(tmp_path / "none")))


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"batch": 10_001}, {"payload_bytes": 5}, {"each_per_s": -1}])
def test_a_number_that_the_api_would_refuse_is_refused_first(wrong: dict[str, float]) -> None:
    validate(given())
    with pytest.raises(OptionError, match="write a number from"):
        validate(given(**wrong))
