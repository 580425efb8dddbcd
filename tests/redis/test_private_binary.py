"""Which server program is run, with programs that only say who they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shards.private_redis import binary as private_binary
from shards.private_redis.binary import Version, find_server, may_read, parse_version
from shards.private_redis.errors import NoServerFound


def fake_server(folder: Path, says: str) -> Path:
    folder.mkdir()
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def test_a_program_too_old_is_passed_over_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake_server(tmp_path / "old", "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(private_binary, "PACKAGE", "no_such_package_here")
    monkeypatch.setattr(private_binary, "FOLDERS", ())
    with pytest.raises(NoServerFound) as refused:
        find_server(None, tmp_path)
    assert str(refused.value) == (
        f"no redis-server 7 or later here ({program} is redis 6.2.14); install one, "
        "pip install 'clarion[private-redis]', or pass --redis-url"
    )
    newer = fake_server(tmp_path / "new", "Valkey server v=8.0.1")
    newer = newer.rename(newer.with_name("valkey-server"))
    monkeypatch.setattr(private_binary, "FOLDERS", (str(newer.parent),))
    assert find_server(None, tmp_path) == (newer, Version("valkey", 8, 0, 1))


def test_a_packaged_program_that_may_not_be_made_executable_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_package"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    program = package / "bin/redis-server"
    program.write_text("#!/bin/sh\necho Redis server v=8.0.0\n")
    program.chmod(0o644)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(private_binary, "PACKAGE", "a_package")
    assert list(private_binary.packaged_programs(tmp_path / "copy")) == [program]
    assert os.access(program, os.X_OK)

    def refused(path: Path, mode: int, real: Callable[[Path, int], None] = Path.chmod) -> None:
        if path == program:
            raise PermissionError(errno.EROFS, "Read-only file system")
        real(path, mode)

    program.chmod(0o644)
    monkeypatch.setattr(Path, "chmod", refused)
    assert list(private_binary.packaged_programs(tmp_path / "copy")) == [tmp_path / "copy/redis-server"]
    assert os.access(tmp_path / "copy/redis-server", os.X_OK)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", Version("redis", 7, 0, 15)),
        ("Valkey server v=8.0.1 sha=00000000:0", Version("valkey", 8, 0, 1)),
        ("redis 7", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, version: Version | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("reader", "writer", "may"),
    [
        (("redis", 7, 0), ("redis", 7, 0), True),
        (("redis", 8, 2), ("redis", 7, 0), True),
        (("redis", 7, 0), ("redis", 8, 2), False),
        (("valkey", 8, 0), ("redis", 7, 2), True),
        (("valkey", 8, 0), ("redis", 7, 4), False),
        (("redis", 8, 2), ("valkey", 8, 0), False),
        (("valkey", 9, 0), ("valkey", 8, 1), True),
    ],
)
def test_only_data_of_known_formats_is_read(
    reader: tuple[str, int, int], writer: tuple[str, int, int], may: bool
) -> None:
    assert may_read(Version(*reader, 99), Version(*writer, 0)) is may
    assert may_read(Version(*reader, 0), Version(*writer, 99)) is may
