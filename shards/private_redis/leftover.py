"""Ending a server that outlived its owner, before another one opens the same files.

Redis does not lock its append-only file, and two servers that write to one would ruin it. The owner's
lock keeps two Clarions apart, but a server can be left over from an owner that was killed: for a moment
until the kernel's signal has worked (`runtime.parent_death`), for good where the kernel has no such thing.

It is ended rather than adopted. It belongs to another parent, so nobody would learn of its death; it may
run with another configuration; and ending costs a second at a moment when nothing is being served.

It is looked for in two ways. On its socket it is asked to SHUTDOWN, which works from any process that can
see the file. By its pid file, in case somebody has removed the socket; a pid may have passed to a stranger
since, so it counts only if it is a server that works in our directory.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from shards.private_redis.errors import DataDirectoryInUse

SHUTDOWN_S: Final = 30.0  # to write out its file
KILLED_S: Final = 5.0
_POLL_S: Final = 0.02


def end_leftover(directory: Path, sockets: Iterable[Path]) -> None:
    """Returns when no server listens on `sockets` and none works in `directory`.

    Raises DataDirectoryInUse if one does not go.
    """
    for path in sockets:
        _end_listener(path)
    pid = _recorded_pid(directory / "redis.pid")
    if pid is not None and _works_in(pid, directory):
        _send(pid, signal.SIGTERM)
        _await_end(lambda: not _works_in(pid, directory), pid, directory)


def _end_listener(path: Path) -> None:
    listener = _connect(path)
    if listener is None:
        return
    with listener:
        pid = _peer_pid(listener)
        try:
            listener.settimeout(SHUTDOWN_S)
            listener.sendall(b"*1\r\n$8\r\nSHUTDOWN\r\n")
            # No answer but the end of the connection; or an error, if its disk refuses.
            while listener.recv(4096):
                pass
        except OSError:
            # It hangs, or went away in between: the loop below finds out which.
            pass
    _await_end(lambda: not _listens(path), pid, path, patience_s=KILLED_S)


def _await_end(
    ended: Callable[[], bool], pid: int | None, where: Path, *, patience_s: float = SHUTDOWN_S
) -> None:
    """Waits, kills, waits. Killing loses nothing: what Redis has answered, the kernel has got."""
    if _within(patience_s, ended):
        return
    if pid is not None:
        _send(pid, signal.SIGKILL)
        if _within(KILLED_S, ended):
            return
    named = f"pid {pid}" if pid is not None else "pid unknown"
    raise DataDirectoryInUse(f"an earlier redis-server ({named}) still serves {where}; end it first", pid)


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(1.0)
    try:
        connection.connect(os.fsencode(path))
    except OSError:
        # No file, or a stale one that nobody listens on: Redis removes that when it binds.
        connection.close()
        return None
    return connection


def _listens(path: Path) -> bool:
    connection = _connect(path)
    if connection is None:
        return False
    connection.close()
    return True


def _peer_pid(connection: socket.socket) -> int | None:
    """Who called listen() on the other end: unix(7), SO_PEERCRED."""
    if not sys.platform.startswith("linux"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    # 0: the listener lives in a pid namespace that we cannot see.
    return pid or None


def _recorded_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _works_in(pid: int, directory: Path) -> bool:
    """Whether `pid` is a server in `directory` (Redis changes to its `dir`); never known without /proc."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text()
        return Path(f"/proc/{pid}/cwd").readlink() == directory and name.startswith(("redis", "valkey"))
    except OSError:
        return False


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
