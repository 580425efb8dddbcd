"""The admin token: who shows it may do everything. It is made at first start, and is not a tenant's API key."""

import base64
import contextlib
import hmac
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from runtime.options import OptionError

LENGTH_LEAST: Final = 32
LENGTH_MOST: Final = 256
_RANDOM_BYTES: Final = 32
# what a header may carry behind "Bearer" (RFC 6750, section 2.1)
_FORM: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


class AdminToken:
    """The secret, and ``name``, by which the log knows whoever shows it."""

    def __init__(self, secret: str, name: str) -> None:
        self._secret = secret.encode()
        self.name = name

    def __repr__(self) -> str:
        return f"<AdminToken {self.name}>"

    def is_shown_as(self, shown: str) -> bool:
        """Takes as long for one that is nearly right as for any other of that length."""
        return hmac.compare_digest(self._secret, shown.encode("utf-8", "surrogateescape"))


def read_admin_token(path: Path, *, create: bool) -> AdminToken:
    """The token in a file; with ``create``, a missing file is made, with mode 0600. Raises OptionError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        if not create:
            raise OptionError("admin-token-file", f"{path} can't be read: {error.strerror}") from error
        _make(path)
        return read_admin_token(path, create=False)
    except OSError as error:
        raise OptionError("admin-token-file", f"{path} can't be read: {error.strerror}") from error
    return checked(text.decode("ascii", "replace"), f"{path}", path.name)


def checked(text: str, source: str, name: str) -> AdminToken:
    """The token that a text is. ``source`` says where it comes from. Raises OptionError."""
    secret = text.strip()
    if not LENGTH_LEAST <= len(secret) <= LENGTH_MOST or not _FORM.fullmatch(secret):
        raise OptionError(
            "admin-token-file",
            f"{source} is no token: it must be {LENGTH_LEAST} to {LENGTH_MOST} random letters and digits "
            "(make one with: openssl rand -hex 32)",
        )
    return AdminToken(secret, name)


def _make(path: Path) -> None:
    """A new token in a file that did not exist, whole or not at all, readable by its owner only."""
    secret = f"clarion-admin_{base64.urlsafe_b64encode(os.urandom(_RANDOM_BYTES)).decode().rstrip('=')}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as draft:
            draft.write(f"{secret}\n".encode())
            draft.flush()
            os.fsync(draft.fileno())
            # of two first starts at the same moment one wins, and both read the winner's
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, path)
    except OSError as error:
        raise OptionError("admin-token-file", f"{path} can't be made: {error.strerror}") from error
