"""Changes to the file of the master key: a new key in front, old ones out.

A key that is lost takes with it whatever it sealed. So a change holds a lock on the file from reading to writing, or of
two rotations at once the key of one would vanish; and the new content replaces the old in one step, with the same owner
and never readable by others, since a file that its gateway can't read is as good as lost.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from stat import S_IMODE
from typing import IO, Final

from shards.errors import VaultError
from shards.vault import MasterKey, decode_master_key, new_line

# the owner may read and write; the group may read if it could before
_MODE: Final = 0o600
_MODE_MOST: Final = 0o640


def rotate(path: Path) -> MasterKey:
    """Put a new key in front, which seals from now on. Raises VaultError."""
    return _change(path, lambda text: new_line() + text)


def retire(path: Path, ids: Collection[str]) -> list[bytes]:
    """Take the keys with these ids out; returns their lines. Raises VaultError."""
    lines: list[bytes] = []

    def without(text: bytes) -> bytes:
        kept: list[bytes] = []
        for line in text.splitlines(keepends=True):
            retired = _id_of(line) in ids
            (lines if retired else kept).append(line)
        return b"".join(kept)

    _change(path, without)
    return lines


def put_back(path: Path, lines: Collection[bytes]) -> MasterKey:
    """Undo ``retire``. Raises VaultError."""
    return _change(path, lambda text: b"".join([text.rstrip(b"\n"), b"\n", *lines]))


def _id_of(line: bytes) -> str:
    """The id of the key in a line, "" for a comment or nothing."""
    if not line.partition(b"#")[0].strip():
        return ""
    return decode_master_key(line, "a line").ids[0]


def _change(path: Path, change: Callable[[bytes], bytes]) -> MasterKey:
    try:
        # what a link names is replaced, not the link
        path = path.resolve(strict=True)
        with _locked(path) as file:
            text = file.read()
            decode_master_key(text, str(path))
            changed = change(text)
            master_key = decode_master_key(changed, str(path), path)
            _replace(path, changed, os.fstat(file.fileno()))
        return master_key
    except OSError as error:
        raise VaultError(f"can't change the master key {path}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    while True:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # while we waited somebody may have put another file in its place
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def _replace(path: Path, content: bytes, old: os.stat_result) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as draft:
        made = Path(draft.name)
        try:
            draft.write(content)
            draft.flush()
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(draft.fileno(), old.st_uid, old.st_gid)
            os.fchmod(draft.fileno(), S_IMODE(old.st_mode) & _MODE_MOST | _MODE)
            os.fsync(draft.fileno())
            made.replace(path)
        except BaseException:
            made.unlink()
            raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
