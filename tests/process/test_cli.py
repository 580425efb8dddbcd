"""The command line as a person meets it: what is wrong is one line that says what to do, without a traceback."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import get_type_hints

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from engine.cli import run
from engine.cli.config import KEYS
from loadtest.teams import make_team

RUN_WITHIN_S = 60.0


def clarion(*words: str, cwd: Path, code: int, **variables: str) -> tuple[str, str]:
    """Run a command, which must end with ``code``; returns what it said on stdout and on stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
    done = subprocess.run(
        [sys.executable, "-m", "engine", *words],
        cwd=cwd,
        env={**environment, "COLUMNS": "200", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    return done.stdout, done.stderr


def one_line(text: str) -> str:
    [line] = text.strip().splitlines()
    assert line.startswith("clarion: ")
    return line


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "AuthKey_KEYS000001.p8"
    path.write_bytes(make_team(1).private_key_pem)
    return path


def creating(key_file: Path, data_dir: Path, name: str = "acme", **options: str) -> list[str]:
    given = {"team-id": "TEAM000001", "key-id": "KEYS000001", "topic": "com.acme.app"} | options
    words = [word for option, value in given.items() for word in (f"--{option}", value)]
    return ["tenant", "create", name, "--key-file", str(key_file), "--data-dir", str(data_dir), *words]


def test_a_tenant_is_created_and_listed_while_no_gateway_runs(key_file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    said, _ = clarion(*creating(key_file, data), cwd=tmp_path, code=0)
    [key] = re.findall(r"clarion_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", said)
    said, _ = clarion("tenant", "list", "--data-dir", str(data), cwd=tmp_path, code=0)
    assert "acme" in said and "TEAM000001" in said and "com.acme.app" in said
    narrow, _ = clarion("tenant", "list", "--data-dir", str(data), cwd=tmp_path, code=0, COLUMNS="40")
    assert narrow == said
    assert key not in said
    stored = b"".join(path.read_bytes() for path in (data / "redis").rglob("*") if path.is_file())
    assert b"acme" in stored
    assert key.encode() not in stored
    assert key_file.read_bytes().splitlines()[1] not in stored
    assert (data / "master.key").stat().st_mode & 0o777 == 0o600
    _, said = clarion(*creating(key_file, data), cwd=tmp_path, code=1)
    assert "there is a tenant 'acme' already" in one_line(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello", "it is not a PEM file"),
        (
            b"-----BEGIN PRIVATE KEY-----\nMIGTAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n",
            "no readable private key",
        ),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it holds a certificate"),
    ],
)
def test_a_key_file_that_can_not_sign_is_refused_in_words(content: bytes, said: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.p8"
    wrong.write_bytes(content)
    _, error = clarion(*creating(wrong, tmp_path / "data"), cwd=tmp_path, code=1)
    assert said in one_line(error)
    assert not (tmp_path / "data").exists()


def test_a_key_of_another_kind_is_refused_in_words(tmp_path: Path) -> None:
    wrong = tmp_path / "rsa.p8"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _, error = clarion(*creating(wrong, tmp_path / "data"), cwd=tmp_path, code=1)
    assert "P-256" in one_line(error)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, error = clarion(*creating(tmp_path / "none.p8", tmp_path / "data"), cwd=tmp_path, code=1)
    assert "none.p8 can't be read" in one_line(error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"team-id": "short"}, "--team-id 'short' can't be"),
        ({"key-id": "keys000001"}, "--key-id 'keys000001' can't be"),
        ({"topic": "com acme"}, "--topic 'com acme' can't be"),
        ({"spread": "0"}, "--spread is 0"),
    ],
)
def test_a_tenant_that_can_not_be_is_refused_in_words(
    options: dict[str, str], said: str, key_file: Path, tmp_path: Path
) -> None:
    _, error = clarion(*creating(key_file, tmp_path / "data", **options), cwd=tmp_path, code=1)
    assert said in one_line(error)


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("run", "--data-dir", str(tmp_path / "data"), "--bind", f"127.0.0.1:{port}")
        _, error = clarion(*words, cwd=tmp_path, code=1)
    assert f"port {port} of 127.0.0.1 is in use" in one_line(error)


def test_an_admin_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("admin", "--redis-url", "redis://localhost", "--data-dir", str(tmp_path / "data"))
        _, error = clarion(*words, "--admin-bind", f"127.0.0.1:{port}", cwd=tmp_path, code=1)
    said = one_line(error)
    assert f"port {port} of 127.0.0.1 is in use" in said and "write another port in --admin-bind" in said


def test_an_admin_token_that_is_none_is_named_and_not_quoted(tmp_path: Path) -> None:
    words = ("admin", "--redis-url", "redis://localhost", "--data-dir", str(tmp_path / "data"))
    _, error = clarion(*words, cwd=tmp_path, code=2, CLARION_ADMIN_TOKEN="hush-hush")
    assert "$CLARION_ADMIN_TOKEN is no token" in one_line(error) and "hush" not in error


def test_a_data_directory_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    _, error = clarion("run", "--data-dir", str(tmp_path / "file" / "data"), cwd=tmp_path, code=1)
    assert "--data-dir" in one_line(error)


def test_a_master_key_of_the_wrong_form_is_named(key_file: Path, tmp_path: Path) -> None:
    words = creating(key_file, tmp_path / "data")
    _, error = clarion(*words, cwd=tmp_path, code=1, CLARION_MASTER_KEY="c2hvcnQ=")
    assert "CLARION_MASTER_KEY is not a master key" in one_line(error)
    assert "c2hvcnQ=" not in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--workers", "0"), "--workers is 0"),
        (("run", "--workers", "2000000000"), "--workers is 2000000000"),
        (("run", "--bind", "8080"), "--bind has no"),
        (("run", "--apns-production-url", "http://localhost"), "--apns-production-url can't be used"),
        (("run", "--links-max", "0"), "--links-max is 0"),
        (("run", "--retry-first-s", "0"), "--retry-first-s is 0"),
        (("run", "--retry-first-s", "60", "--retry-most-s", "30"), "--retry-first-s is 60"),
        (("run", "--retry-most-s", "100000"), "--retry-most-s is 100000"),
        (("run", "--retry-attempts", "0"), "--retry-attempts is 0"),
        (("engine",), "--redis-url 'clarion engine' needs one"),
        (("ingest", "--redis-url", "localhost:6379"), "--redis-url begins with none of"),
        (("engine", "--redis-url", "localhost:6379"), "--redis-url begins with none of"),
        (("tenant", "list", "--redis-url", "redis://user:pass/word@localhost"), "--redis-url can't be read"),
        (("tune", "check", "--redis-url", "redis://localhost?wait=1"), "--redis-url can't be read"),
        (("run", "--redis-url", "redis://localhost/main"), "--redis-url can't be read"),
        (
            ("run", "--apns-ca-file", "/no/such/file"),
            "and there is no such file; write a PEM file",
        ),
        (("run", "--apns-ca-file", __file__), "no certificate is in it; write a PEM file of certificates"),
        (("tune", "size", "--rate", "inf"), "--rate is inf; write a number from"),
        (("admin",), "--redis-url 'clarion admin' needs one"),
        (
            ("admin", "--redis-url", "redis://localhost", "--admin-bind", "8081"),
            "--admin-bind is no HOST:PORT",
        ),
        (("admin", "--redis-url", "redis://localhost", "--admin-bind", ""), "--admin-bind is empty"),
    ],
)
def test_a_bad_option_says_what_to_write_instead(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    _, error = clarion(*words, cwd=tmp_path, code=2, CLARION_DATA_DIR=str(tmp_path / "data"))
    assert said in one_line(error)
    assert "pass/word" not in error


PUSH = ("send", "--topic", "com.acme.app", "--device-token", "00", "--alert", "Hello")


@pytest.mark.parametrize(
    "url", ["garbage", "http://", "http://x:port", "http://a b", "file:///etc", "127.0.0.1:8080"]
)
def test_a_push_to_no_address_is_a_bad_option(url: str, tmp_path: Path) -> None:
    _, error = clarion(*PUSH, "--api-key", "k", "--url", url, cwd=tmp_path, code=2)
    assert one_line(error) == f"clarion: --url is {url!r}; write it as http://127.0.0.1:8080"


@pytest.mark.parametrize("key", ["clarion_…", "secret\nword", "secret word", ""])
def test_what_no_api_key_can_be_is_a_bad_option_and_is_not_repeated(key: str, tmp_path: Path) -> None:
    _, error = clarion(*PUSH, "--api-key", key, "--url", "http://127.0.0.1:9", cwd=tmp_path, code=2)
    assert "--api-key is no API key" in one_line(error)
    assert "secret" not in error


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-x\r\n"])
def test_a_push_to_what_is_no_gateway_is_a_line_too(greeting: bytes, tmp_path: Path) -> None:
    def hang_up() -> None:
        caller, _ = listener.accept()
        with caller:
            caller.recv(65_536)
            caller.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        pool.submit(hang_up)
        _, error = clarion(*PUSH, "--api-key", "k", "--url", url, cwd=tmp_path, code=1)
    assert f"{url} can't be reached" in one_line(error)


def test_it_says_which_version_it_is(tmp_path: Path) -> None:
    said, _ = clarion("--version", cwd=tmp_path, code=0)
    assert said.strip() == version("clarion")


def test_an_unknown_option_suggests_the_right_one(tmp_path: Path) -> None:
    said, error = clarion("run", "--wokers", "2", cwd=tmp_path, code=2)
    assert "--workers" in said + error


def test_the_file_is_read_and_the_variable_and_the_flag_win_over_it(tmp_path: Path) -> None:
    (tmp_path / "clarion.toml").write_text('data-dir = "data"\nworkers = 0\n')
    _, error = clarion("run", cwd=tmp_path, code=2)
    assert "--workers is 0" in one_line(error)
    _, error = clarion("run", cwd=tmp_path, code=2, CLARION_WORKERS="-1")
    assert "--workers is -1" in one_line(error)
    _, error = clarion("run", "--workers", "-2", cwd=tmp_path, code=2, CLARION_WORKERS="-1")
    assert "--workers is -2" in one_line(error)


@pytest.mark.parametrize("command", [run.run, run.engine, run.ingest, run.admin])
def test_every_option_of_the_processes_may_stand_in_the_file(command: Callable[..., int]) -> None:
    params = [kind for kind in get_type_hints(command).values() if is_dataclass(kind)]
    options = {field.name.replace("_", "-") for kind in params for field in fields(kind)}
    assert options and options <= KEYS


def test_a_misspelt_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "clarion.toml").write_text("wokers = 2\n")
    said, error = clarion("run", cwd=tmp_path, code=2)
    assert "did you mean workers" in re.sub(r"\s+", " ", said + error)


def test_sending_to_nobody_says_so(tmp_path: Path) -> None:
    words = ("send", "--api-key", "k", "--device-token", "00", "--topic", "t", "--alert", "hi")
    _, error = clarion(*words, "--url", "http://127.0.0.1:9", cwd=tmp_path, code=1)
    assert "can't be reached" in one_line(error)
