"""A redis-server of our own, for whoever gives no Redis URL.

Theory of operation. `prepare` does all that can fail, before anything is forked: it makes the directory
`<data-dir>/redis` (mode 0700), takes the lock, finds a program, ends a leftover server, writes the
configuration. What it returns is a description: the supervisor runs `argv` as one more child and asks
`ready`; tests and benchmarks may `start` and `stop` it themselves. `release` gives the lock back.

The lock is an flock(2) on `<data-dir>/clarion.lock`, which holds the owner's pid for the error message
of the next one. The kernel drops it however the owner ends, so it is never stale. A forked child shares
it, and would hold it for as long as it drains after a killed owner; so it is closed in every fork. (Two
generations that overlap for a moment do no harm: leases have fences.)

The server listens on a unix socket in its directory and on no port. A socket's path is limited to 107
bytes on Linux and 103 on BSD and macOS; where it would be longer, the socket lies in a directory of its
own under the system's temporary one, named by a hash of the data directory.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from runtime.parent_death import die_with_parent
from shards.private_redis.binary import Version, find_server
from shards.private_redis.conf import FSYNCS, Fsync, config_text
from shards.private_redis.errors import (
    ELSEWHERE,
    DataDirectoryInUse,
    DataDirectoryUnusable,
    PrivateServerError,
    ServerDidNotStart,
    unusable,
)
from shards.private_redis.leftover import end_leftover

SOCKET_PATH_BYTES: Final = 103
# Less is gone within seconds of full load, and then Redis refuses every write.
LEAST_FREE_BYTES: Final = 64 << 20
ANSWER_S: Final = 0.5
STOP_S: Final = 30.0
_POLL_S: Final = 0.02


class _LastServer(msgspec.Struct, array_like=True):
    """Who served the directory last, and where: a drawer record, so it grows only at its end."""

    kind: str
    major: int
    minor: int
    patch: int
    socket: str


@dataclass(frozen=True)
class PrivateServer:
    """A server that is ready to be run, and the lock on its data."""

    argv: tuple[str, ...]
    url: str
    socket: Path
    directory: Path
    version: Version
    _lock: FileIO = field(repr=False)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def log_file(self) -> Path:
        """Where the server says why it ended."""
        return self.directory / "redis.log"

    def ready(self) -> bool:
        """Whether it answers PING with PONG; no while it loads its file. Blocks for half a second at most."""
        return _answer(self.socket).startswith(b"+PONG")

    def start(self, deadline_s: float = 30.0) -> None:
        """Runs the server below this process, without a supervisor, and waits until it is ready.

        Call it from the main thread, see `runtime.parent_death`. Raises ServerDidNotStart.
        """
        process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            # Out of reach of Ctrl-C, which is for its owner to hear first.
            process_group=0,
            preexec_fn=partial(die_with_parent, os.getpid()),  # prctl and getppid only
        )
        self._started.append(process)
        give_up_s = time.monotonic() + deadline_s
        while not self.ready():
            if process.poll() is not None or time.monotonic() > give_up_s:
                self.stop()
                raise ServerDidNotStart(f"redis-server did not start: {self._last_words()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ends what `start` started, if it still runs; the data stays."""
        while self._started:
            process = self._started.pop()
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def release(self) -> None:
        """Gives the data directory free for another owner; can be called again."""
        self._lock.close()
        if self.socket.parent != self.directory:
            with suppress(OSError):
                self.socket.parent.rmdir()

    def _last_words(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").split("\n")
        except OSError:
            return f"it left no log in {self.log_file}"
        said = [line for line in lines if line.strip()]
        return f"{said[-1] if said else 'it said nothing'} ({self.log_file})"


def running_url(data_dir: Path | str) -> str | None:
    """The URL of the server that runs on this data directory now, whoever owns it; None when none answers.

    One that answers with a refusal (it loads its file, or can't write it) runs as well, and says why to who asks it.
    """
    try:
        last = _read_last(Path(data_dir).expanduser().resolve() / "redis")
    except OSError as error:
        raise unusable(Path(data_dir), error) from error
    return _url(Path(last.socket)) if last is not None and _answer(Path(last.socket)) else None


def _url(path: Path) -> str:
    return "unix://" + quote(str(path))


def _answer(path: Path) -> bytes:
    """To PING; nothing when nobody is there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(os.fsencode(path))
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            return connection.recv(64)
        except OSError:
            return b""


def prepare(data_dir: Path | str, fsync: Fsync = "everysec") -> PrivateServer:
    """Makes everything ready to run a server on `data_dir`, and takes the lock on it.

    Raises one of `shards.private_redis.errors`, and ValueError for an `fsync` that is none.
    """
    if fsync not in FSYNCS:
        raise ValueError(f"fsync {fsync!r}: write one of {', '.join(FSYNCS)}")
    top = Path(data_dir).expanduser().absolute()
    try:
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Redis resolves links when it changes to its directory, and so must we, to know it again.
        top = top.resolve()
        _check_spelling(top)
        lock = _take_lock(top)
        try:
            return _prepare_locked(top, fsync, lock)
        except BaseException:
            lock.close()
            raise
    except OSError as error:
        raise unusable(top, error) from error


def _prepare_locked(top: Path, fsync: Fsync, lock: FileIO) -> PrivateServer:
    directory = top / "redis"
    _make_private(directory)
    if shutil.disk_usage(directory).free < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    last = _read_last(directory)
    written_by = Version(last.kind, last.major, last.minor, last.patch) if last else None
    program = find_server(written_by, directory / "bin")
    path = _socket_path(directory)
    end_leftover(directory, {path, Path(last.socket)} if last else {path})
    _write_last(directory, _LastServer(*program.version, str(path)))
    conf = directory / "redis.conf"
    _replace(conf, config_text(directory, path, fsync, program.version).encode())
    return PrivateServer(
        argv=(str(program.path), str(conf)),
        url=_url(path),
        socket=path,
        directory=directory,
        version=program.version,
        _lock=lock,
    )


def _check_spelling(top: Path) -> None:
    # The URL of the socket carries the path, and URLs are read as UTF-8.
    try:
        str(top).encode()
    except UnicodeEncodeError:
        raise DataDirectoryUnusable(f"{os.fsencode(top)!r} is not UTF-8; {ELSEWHERE}") from None


def _take_lock(top: Path) -> FileIO:
    descriptor = os.open(top / "clarion.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    lock = FileIO(descriptor, "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = lock.read(32).strip()
        lock.close()
        # Empty for the moment between its taking the lock and its writing the pid.
        pid = int(said) if said.isdigit() else None
        owner = f"Clarion pid {pid}" if pid else "another Clarion"
        says = f"data directory {top} is in use by {owner}; stop it or {ELSEWHERE}"
        raise DataDirectoryInUse(says, pid) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode())
    # Closing a closed file does nothing, so the hook may outlive the lock.
    os.register_at_fork(after_in_child=lock.close)
    return lock


def _make_private(directory: Path) -> None:
    """Makes a directory that is ours alone. Raises DataDirectoryUnusable for one that is somebody else's.

    lstat, so that in a shared temporary directory nobody can put a link of that name in our way.
    """
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    if found.st_uid != os.geteuid():
        whose = f"{directory} belongs to uid {found.st_uid}, and this is uid {os.geteuid()}"
        raise DataDirectoryUnusable(f"{whose}; run as its owner, or {ELSEWHERE}")
    directory.chmod(0o700)


def _socket_path(directory: Path) -> Path:
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    inside = directory / "redis.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
        return inside
    # TMPDIR may be long as well, above all in tests and on macOS.
    for temporary in (tempfile.gettempdir(), "/tmp"):
        path = Path(temporary) / f"clarion-{name}" / "redis.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            _make_private(path.parent)
            return path
    raise PrivateServerError(f"no place for a socket: {directory} is too long; {ELSEWHERE}")


def _read_last(directory: Path) -> _LastServer | None:
    try:
        return msgspec.json.decode((directory / "last-server.json").read_bytes(), type=_LastServer)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write_last(directory: Path, last: _LastServer) -> None:
    _replace(directory / "last-server.json", msgspec.json.encode(last))


def _replace(path: Path, content: bytes) -> None:
    """All or nothing, so that a full disk or a crash leaves the old file."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
