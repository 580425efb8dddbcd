"""The simulator as a process: its line, its control door, its end; and its certificate authority."""

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from push_client import TOPIC, PushClient, Signer

from loadtest.simulator.authority import ensure_authority

ROOT = Path(__file__).resolve().parents[2]
SIGNER = Signer()
TEAM = {
    "team_id": SIGNER.team_id,
    "key_id": SIGNER.key_id,
    "public_key_pem": SIGNER.public_key_pem,
    "topics": [TOPIC],
}


# What `clarion simulate` does with its flags.
START = """
import sys
from pathlib import Path
from loadtest.simulator.run import RunOptions, run
port, control_port, data_dir = sys.argv[1:]
sys.exit(run(RunOptions(port=int(port), control_port=int(control_port), data_dir=Path(data_dir))))
"""


def launch(directory: Path, *, port: int = 0, control_port: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, str(port), str(control_port), str(directory)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def whereabouts(tmp_path: Path) -> Iterator[dict[str, Any]]:
    process = launch(tmp_path)
    assert process.stdout is not None
    try:
        yield {**json.loads(process.stdout.readline()), "process": process}
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


def call(where: dict[str, Any], method: str, path: str, body: object = None) -> tuple[int, bytes]:
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(where["control_url"] + path, data=sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            assert error.headers["content-type"] == "application/problem+json"
            return error.code, error.read()


async def push(where: dict[str, Any], apns_id: str, token: str = "abcd") -> int:
    async with await PushClient.connect(where["port"], Path(where["ca_file"])) as client:
        return (
            await client.push(authorization=SIGNER.bearer(time.time()), apns_id=apns_id, token=token)
        ).status


def test_the_control_door_tells_and_asks(whereabouts: dict[str, Any]) -> None:
    assert call(whereabouts, "GET", "/livez")[0] == 200
    apns_id = str(uuid.uuid4())
    assert asyncio.run(push(whereabouts, apns_id)) == 403
    assert call(whereabouts, "POST", "/teams", TEAM)[0] == 204
    assert call(whereabouts, "POST", "/devices", [{"token": "dead", "fate": "unregistered"}])[0] == 204
    assert asyncio.run(push(whereabouts, str(uuid.uuid4()), "dead")) == 410
    assert (
        call(whereabouts, "POST", "/script", [{"then": [{"do": "answer", "reason": "Shutdown"}]}])[0] == 204
    )
    assert asyncio.run(push(whereabouts, apns_id)) == 503
    assert call(whereabouts, "DELETE", "/script")[0] == 204
    assert asyncio.run(push(whereabouts, apns_id)) == 200
    summary = json.loads(call(whereabouts, "GET", "/ledger")[1])
    assert (summary["attempts"], summary["accepted"], summary["connections_opened"]) == (4, 1, 4)
    lines = call(whereabouts, "GET", "/ledger/entries")[1].splitlines()
    entries = {entry["apns_id"]: entry["attempts"] for entry in map(json.loads, lines)}
    assert [attempt["status"] for attempt in entries[apns_id]] == [403, 503, 200]
    assert call(whereabouts, "DELETE", "/ledger")[0] == 204
    assert json.loads(call(whereabouts, "GET", "/ledger")[1])["attempts"] == 0


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/teams", {**TEAM, "topic": []}, "$.topic"),
        ("/teams", {"team_id": "T"}, "$.key_id"),
        ("/teams", [{**TEAM, "topics": [1]}], "$[0].topics[0]"),
        ("/teams", {**TEAM, "public_key_pem": "no"}, "$.public_key_pem"),
        ("/devices", {"token": "ab", "fate": "sad"}, "$.fate"),
        ("/script", [{"then": [{"do": "answer", "status": 99}]}], "$[0].then[0].status"),
        ("/script", [{"match": {"shares": 1}, "then": []}], "$[0].match.shares"),
    ],
)
def test_bad_input_gets_a_problem_that_names_the_field(
    whereabouts: dict[str, Any], path: str, body: object, field: str
) -> None:
    status, problem = call(whereabouts, "POST", path, body)
    assert (status, json.loads(problem)["field"]) == (400, field)


@pytest.mark.parametrize("which", ["port", "control_port"])
def test_a_port_in_use_is_one_line_that_says_what_to_do(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = launch(tmp_path, **{which: port})
        out, complaints = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert complaints.count("\n") == 1
    assert f"port {port} of 127.0.0.1 is in use" in complaints
    assert "--" + which.replace("_", "-") in complaints


def test_sigint_ends_it_like_sigterm(tmp_path: Path) -> None:
    process = launch(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


def test_the_authority_is_kept_while_it_is_valid_and_made_anew_when_broken(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path)
    written = first.certificate_file.read_bytes()
    assert ensure_authority(tmp_path).certificate_file.read_bytes() == written
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    first.key_file.write_text("broken")
    second = ensure_authority(tmp_path)
    assert second.certificate_file.read_bytes() != written
    assert second.server_context().minimum_version == ssl.TLSVersion.TLSv1_2
    ssl.create_default_context(cafile=str(second.ca_file))
