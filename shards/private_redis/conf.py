"""The private server's configuration file, pure: choices in, text out, each choice with its reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, get_args

from shards.private_redis.binary import Version

Fsync = Literal["everysec", "always"]
FSYNCS: Final[tuple[str, ...]] = get_args(Fsync)


def quoted(value: str | Path) -> str:
    r"""A value as redis.conf reads it back: in double quotes, other than printable ASCII as \xHH.

    The rules are those of Redis' `sdssplitargs`. A path may hold anything but NUL: spaces, quotes, and
    bytes that are no UTF-8, which arrive here as surrogates and leave as the bytes they were.
    """
    escaped = "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(value)
    )
    return f'"{escaped}"'


def config_text(directory: Path, socket: Path, fsync: Fsync, version: Version) -> str:
    """The whole redis.conf of a server that works in `directory` and listens on `socket` only."""
    lines = [
        "# Written anew at each start of Clarion: changes made here do not stay.",
        "",
        "# Only this machine, and on it only this user.",
        "port 0",
        f"unixsocket {quoted(socket)}",
        "unixsocketperm 700",
        "",
        "# The supervisor forks it, watches it, and collects it.",
        "daemonize no",
        "supervised no",
        f"dir {quoted(directory)}",
        f"pidfile {quoted(directory / 'redis.pid')}",
        f"logfile {quoted(directory / 'redis.log')}",
        "",
        "# Jobs live in the append-only file. Snapshots would only repeat it, at a fork each.",
        "# everysec: a crash of the machine may take the last second or two. So may a crash of Redis alone",
        "# while the disk is slow, since it answers before it writes as long as an fsync is under way.",
        "# always: no loss, at the price of one flush to disk for each round of commands.",
        "appendonly yes",
        f"appendfsync {fsync}",
        'save ""',
        "aof-use-rdb-preamble yes",
        "# The last command may be cut in half by a crash; it was not answered, so it is no loss.",
        "aof-load-truncated yes",
        "",
        "# A queue's file grows with the traffic, by 1.2 kB a push, and says little: what is left of it in",
        "# the end is the backlog, mostly nothing. A rewrite keeps a CPU busy for as long as the backlog",
        "# takes, so it is made seldom: with a least size of 128 MB a drain at full speed was rewriting for a",
        "# third of the time, and 12 % slower (tuning/experiments/0002). The price is disk, and what Redis",
        "# takes to read the file when it is started again.",
        "auto-aof-rewrite-percentage 100",
        "auto-aof-rewrite-min-size 1gb",
        "",
        "# When memory ends, refuse new jobs (the tenant hears of it); never drop an accepted one.",
        "maxmemory-policy noeviction",
    ]
    if (version.major, version.minor) >= (7, 2):
        # Since 7.2 a server exits at a locale of the environment that is not installed, as ssh brings
        # along and slim containers lack; 7.0 goes on, and does not know this option.
        lines += ["", "# Nothing here is sorted by language.", "locale-collate C"]
    return "\n".join(lines) + "\n"
