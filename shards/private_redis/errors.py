"""Why there is no private server. Each text is one line that says what to do about it.

PrivateServerError
├── NoServerFound            no redis-server on this machine that is new enough
├── DataTooNew               there is one, but a newer one has written the data
├── DataDirectoryUnusable    the data directory cannot be written, or has no room
├── DataDirectoryInUse       another Clarion owns it (`pid`), or its server will not go
└── ServerDidNotStart        the server was started and ended, or was never ready

All are faults of the surroundings, found before anything is served; none is worth a retry by itself.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

INSTEAD = "pip install 'clarion[private-redis]', or pass --redis-url"
ELSEWHERE = "pass another --data-dir"


class PrivateServerError(Exception):
    """Base of all of them; its text is one line that a person can act on."""


class NoServerFound(PrivateServerError):
    """No usable redis-server on this machine."""


class DataTooNew(PrivateServerError):
    """The data was written by a server whose format the servers here do not know."""


class DataDirectoryUnusable(PrivateServerError):
    """The data directory cannot be used."""


class DataDirectoryInUse(PrivateServerError):
    """The data directory has an owner; `pid` is None when it did not say which."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class ServerDidNotStart(PrivateServerError):
    """The server is not running, although everything was prepared."""


def unusable(directory: Path, error: OSError) -> DataDirectoryUnusable:
    """The operating system's complaint about `directory`, as a line that says what to do."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            says = f"no space left for the data directory {directory}; free some, or {ELSEWHERE}"
        case errno.EACCES | errno.EPERM:
            says = f"may not write to {directory}; give it to this user (uid {os.geteuid()}), or {ELSEWHERE}"
        case errno.ENOTDIR | errno.EEXIST:
            says = f"{error.filename or directory} is not a directory; move it away, or {ELSEWHERE}"
        case errno.EROFS:
            says = f"the file system of {directory} is read-only; {ELSEWHERE}"
        case _:
            says = f"cannot use the data directory {directory} ({error.strerror}); {ELSEWHERE}"
    return DataDirectoryUnusable(says)
