"""The load test with Locust, as a person runs it: a few seconds of it, headless, against a real gateway.

Locust patches the standard library when it is imported, so it only ever runs in processes of its own.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.lab import free_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="Locust is not installed: it is the extra 'load'"
)

TOP = Path(__file__).resolve().parents[2]
WITHIN_S = 100.0
KEY = "clarion_00000000_nobody-may-see-this"


def python(*words: str, cwd: Path, code: int, **variables: str) -> str:
    """Run a module, which must end with ``code``; returns all that it said."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CLARION_", "LOCUST_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(TOP), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def swarm(tmp_path: Path, *options: str) -> dict[str, Any]:
    words = ("--run-time", "4s", "--json", "out.json", "--html", "report.html", *options)
    said = python("loadtest.swarm", *words, cwd=tmp_path, code=0)
    assert "clarion_" not in said
    result: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    return result


def test_all_that_locust_was_told_is_accepted_is_at_the_sink(tmp_path: Path) -> None:
    result = swarm(tmp_path, "--users", "9", "--spawn-rate", "100", "--batch", "20")
    answers = result["answers"]
    assert result["failed"] == []
    assert result["accepted_by_api"] == answers["accepted"] == answers["pushes"] > 0
    assert (result["lost"], result["repeated"], result["queued"]) == (0, 0, {})
    assert set(result["requests_by_name"]) == {"/v1/push", "/v1/push/batch", "Aggregated"}
    assert result["requests_by_name"]["Aggregated"]["requests"] == answers["requests"]
    report = (tmp_path / "report.html").read_text()
    assert "/v1/push/batch" in report and "clarion_" not in report


def test_processes_that_share_the_work_add_up_and_back_pressure_is_no_failure(tmp_path: Path) -> None:
    options = ("--kind", "batch", "--shape", "spike", "--admit-per-s", "50", "--locust-processes", "2")
    result = swarm(tmp_path, "--users", "6", *options)
    answers = result["answers"]
    assert answers["processes"] == 2
    assert answers["held_back"]["429 rate-limited"] > 0 and answers["failed_requests"] == 0
    assert answers["accepted"] + answers["held_back"]["429 rate-limited"] == answers["pushes"]
    assert (result["accepted_by_api"], result["lost"]) == (answers["accepted"], 0)
    assert any("held back: 429 rate-limited" in name for name in result["requests_by_name"])


def locust(tmp_path: Path, *options: str, code: int, **variables: str) -> str:
    file = str(TOP / "loadtest" / "locustfile.py")
    return python(
        "locust", "-f", file, "--headless", "-t", "1s", *options, cwd=tmp_path, code=code, **variables
    )


def test_a_gateway_that_does_not_answer_is_a_failure_and_the_key_is_in_no_word_of_it(tmp_path: Path) -> None:
    options = ("--host", f"http://127.0.0.1:{free_port()}", "--topic", "com.example.app")
    files = ("--html", "report.html", "--tally-file", "tally.json", "--logfile", "locust.log")
    said = locust(tmp_path, *options, *files, code=1, CLARION_API_KEY=KEY)
    tally = json.loads((tmp_path / "tally.json").read_text())
    assert tally["wrong"] == {"no answer: ConnectionRefusedError": tally["requests"]}
    assert tally["in_doubt"] == tally["pushes"] > 0 == tally["accepted"]
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert KEY not in said + written


def test_without_a_key_nothing_begins_and_one_line_says_what_to_do(tmp_path: Path) -> None:
    said = locust(tmp_path, code=1)
    [line] = [line for line in said.splitlines() if line.startswith("locust: ")]
    assert "$CLARION_API_KEY" in line
