"""The private server, on every redis-server that this machine has."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from shards.private_redis import binary as private_binary
from shards.private_redis import leftover as private_leftover
from shards.private_redis import server as private_server
from shards.private_redis.errors import (
    DataDirectoryInUse,
    DataDirectoryUnusable,
    DataTooNew,
    ServerDidNotStart,
)
from shards.private_redis.server import PrivateServer, prepare, running_url

DEADLINE_S = 30.0
PACKAGED = importlib.util.find_spec(private_binary.PACKAGE) is not None
SYSTEM = any(
    program.exists() and "v=6" not in subprocess.check_output([program, "--version"], text=True)
    for folder in private_binary.FOLDERS
    for program in (Path(folder) / name for name in private_binary.NAMES)
)
both_kinds = pytest.mark.skipif(not (PACKAGED and SYSTEM), reason="needs the system's and the packaged one")


class Surroundings(NamedTuple):
    """Makes one kind of program the only one to be found."""

    patch: pytest.MonkeyPatch
    nowhere: Path

    def only_system(self) -> None:
        self.patch.setattr(private_binary, "PACKAGE", "no_such_package_here")

    def only_packaged(self) -> None:
        self.patch.setenv("PATH", str(self.nowhere))
        self.patch.setattr(private_binary, "FOLDERS", ())


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Surroundings:
    return Surroundings(monkeypatch, tmp_path / "nowhere")


@pytest.fixture(params=["system", "packaged"])
def kind(request: pytest.FixtureRequest, surroundings: Surroundings) -> str:
    if request.param == "system":
        if not SYSTEM:
            pytest.skip("this machine has no redis-server 7 or later")
        surroundings.only_system()
    else:
        if not PACKAGED:
            pytest.skip(f"the package {private_binary.PACKAGE} is not installed")
        surroundings.only_packaged()
    return str(request.param)


@pytest.fixture
def prepared() -> Iterator[Callable[..., PrivateServer]]:
    """`prepare`, with everything stopped and released afterwards."""
    servers: list[PrivateServer] = []

    def make(data_dir: Path, **options: str) -> PrivateServer:
        servers.append(prepare(data_dir, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
        server.release()


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def say(server: PrivateServer, *command: str) -> object:
    with Redis.from_url(server.url, decode_responses=True) as client:
        return client.execute_command(*command)


def setting(server: PrivateServer, name: str) -> str:
    with Redis.from_url(server.url, decode_responses=True) as client:
        return str(client.config_get(name)[name])


def pid_of(server: PrivateServer) -> int:
    return int((server.directory / "redis.pid").read_text())


@pytest.mark.usefixtures("kind")
def test_it_serves_its_user_on_a_socket_and_nobody_on_a_port(
    prepared: Callable[..., PrivateServer], tmp_path: Path
) -> None:
    server = prepared(tmp_path / "data", fsync="always")
    assert not server.ready()
    server.start()
    assert server.ready() and say(server, "PING") is True
    told = {name: setting(server, name) for name in ("port", "appendonly", "appendfsync", "save")}
    assert told == {"port": "0", "appendonly": "yes", "appendfsync": "always", "save": ""}
    assert setting(server, "maxmemory-policy") == "noeviction"
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert server.socket.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert not server.ready()


@pytest.mark.usefixtures("kind")
def test_a_killed_server_comes_back_with_its_data(
    prepared: Callable[..., PrivateServer], tmp_path: Path
) -> None:
    server = prepared(tmp_path / "data")
    server.start()
    say(server, "RPUSH", "jobs", "one", "two")
    os.kill(pid_of(server), signal.SIGKILL)
    until(lambda: not server.ready())
    server.stop()
    server.start()
    assert say(server, "LRANGE", "jobs", "0", "-1") == ["one", "two"]


OWNER = """
import sys, time
from shards.private_redis.server import prepare
server = prepare(sys.argv[1])
server.start()
print("up", flush=True)
time.sleep(1000)
"""


@pytest.mark.usefixtures("kind")
def test_a_killed_owner_takes_its_server_along_and_leaves_its_data(
    prepared: Callable[..., PrivateServer], tmp_path: Path, kind: str
) -> None:
    found = prepared(tmp_path / "other").argv[0]
    environment = os.environ | {"PATH": f"{Path(found).parent}"}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "data")], stdout=subprocess.PIPE, env=environment
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
        url = f"unix://{tmp_path}/data/redis/redis.sock"
        with Redis.from_url(url) as client:
            client.rpush("jobs", "one")
        with pytest.raises(DataDirectoryInUse, match=f"is in use by Clarion pid {owner.pid}; stop it"):
            prepare(tmp_path / "data")
        server_pid = int((tmp_path / "data/redis/redis.pid").read_text())
        owner.kill()
    until(lambda: not private_leftover._works_in(server_pid, tmp_path / "data/redis"))
    server = prepared(tmp_path / "data")
    server.start()
    assert say(server, "LRANGE", "jobs", "0", "-1") == ["one"]


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("trouble", ["nothing", "no socket", "hangs"])
def test_a_server_left_over_is_ended_first(
    prepared: Callable[..., PrivateServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    server = prepared(tmp_path / "data")
    with subprocess.Popen(server.argv) as left:
        until(server.ready)
        say(server, "SET", "job", "kept")
        server.release()
        if trouble == "no socket":
            server.socket.unlink()
        if trouble == "hangs":
            monkeypatch.setattr(private_leftover, "SHUTDOWN_S", 0.2)
            monkeypatch.setattr(private_leftover, "KILLED_S", 2.0)
            left.send_signal(signal.SIGSTOP)
        try:
            again = prepared(tmp_path / "data")
            ended = left.wait(DEADLINE_S)
        finally:
            left.kill()
    assert ended == (-signal.SIGKILL if trouble == "hangs" else 0)
    again.start()
    assert say(again, "GET", "job") == "kept"


@pytest.mark.usefixtures("kind")
def test_a_locale_that_is_not_installed_does_no_harm(
    prepared: Callable[..., PrivateServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    prepared(tmp_path / "data").start()


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("name", ['spaces and "quotes" and \\', "ünïcode %20 #?", "x" * 120])
def test_any_path_will_do(prepared: Callable[..., PrivateServer], tmp_path: Path, name: str) -> None:
    server = prepared(tmp_path / name)
    server.start()
    assert say(server, "PING") is True
    assert server.socket.parent.stat().st_mode & 0o777 == 0o700
    if len(name) == 120:
        assert server.socket.parent.parent != server.directory.parent
        server.stop()
        server.release()
        assert not server.socket.parent.exists()


def test_one_data_directory_has_one_owner_at_a_time(
    prepared: Callable[..., PrivateServer], tmp_path: Path
) -> None:
    first = prepared(tmp_path)
    with pytest.raises(DataDirectoryInUse) as refused:
        prepare(tmp_path)
    assert str(refused.value) == (
        f"data directory {tmp_path} is in use by Clarion pid {os.getpid()}; "
        "stop it or pass another --data-dir"
    )
    assert refused.value.pid == os.getpid()
    first.release()
    prepared(tmp_path)


FORKING_OWNER = """
import os, sys, time
from shards.private_redis.server import prepare
server = prepare(sys.argv[1])
pid = os.fork()
if pid == 0:
    os.close(1)
    time.sleep(1000)
print(pid, flush=True)
"""


def test_a_server_that_refuses_runs_and_is_not_ready(
    prepared: Callable[..., PrivateServer], tmp_path: Path
) -> None:
    server = prepared(tmp_path)
    assert running_url(tmp_path) is None
    server.start()
    assert running_url(tmp_path) == server.url and server.ready()
    # any refusal will do: it says as much while it loads its file, or can't write it
    say(server, "CONFIG", "SET", "requirepass", "secret")
    assert running_url(tmp_path) == server.url and not server.ready()
    server.stop()
    assert running_url(tmp_path) is None


def test_children_of_a_dead_owner_do_not_hold_its_lock(
    prepared: Callable[..., PrivateServer], tmp_path: Path
) -> None:
    said = subprocess.check_output([sys.executable, "-c", FORKING_OWNER, str(tmp_path)])
    try:
        prepared(tmp_path)
    finally:
        os.kill(int(said), signal.SIGKILL)


@both_kinds
def test_a_program_older_than_the_data_is_passed_over(
    prepared: Callable[..., PrivateServer], surroundings: Surroundings, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Surroundings(patch, tmp_path / "nowhere").only_packaged()
        first = prepared(tmp_path / "data")
        first.start()
        say(first, "SET", "job", "kept")
        first.stop()
        first.release()
    second = prepared(tmp_path / "data")
    assert second.version == first.version
    second.release()
    surroundings.only_system()
    with pytest.raises(DataTooNew, match=f"written by {first.version}, which .* cannot read; install"):
        prepare(tmp_path / "data")


def test_damaged_data_is_reported_with_the_last_line_of_the_log(
    prepared: Callable[..., PrivateServer], tmp_path: Path
) -> None:
    server = prepared(tmp_path)
    server.start()
    server.stop()
    (server.directory / "appendonlydir/appendonly.aof.manifest").write_text("rubbish\n")
    with pytest.raises(ServerDidNotStart, match=f"did not start: .*manifest.* \\({server.log_file}\\)"):
        server.start()


def test_a_directory_that_will_not_do_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_file = tmp_path / "file"
    a_file.touch()
    for path in (a_file, a_file / "below"):
        with pytest.raises(DataDirectoryUnusable, match="is not a directory; move it away, or pass another"):
            prepare(path)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/redis").symlink_to(tmp_path)
    with pytest.raises(DataDirectoryUnusable, match="link/redis is not a directory"):
        prepare(tmp_path / "link")
    with pytest.raises(DataDirectoryUnusable, match="cannot use the data directory /proc/clarion"):
        prepare("/proc/clarion")
    with pytest.raises(DataDirectoryUnusable, match="is not UTF-8"):
        prepare(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    with pytest.raises(ValueError, match="write one of everysec, always"):
        prepare(tmp_path, fsync="never")  # type: ignore[arg-type]
    monkeypatch.setattr(private_server, "LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(DataDirectoryUnusable, match="no space left"):
        prepare(tmp_path)
    monkeypatch.undo()
    prepare(tmp_path).release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    os.chown(tmp_path / "redis", 12345, 12345)
    with pytest.raises(
        DataDirectoryUnusable, match="belongs to uid 12345, and this is uid 0; run as its owner"
    ):
        prepare(tmp_path)
