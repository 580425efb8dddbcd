"""Options that several administration commands share, and the requests that they are made into."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Group, Parameter
from msgspec import UNSET

from engine.cli.errors import CommandError
from engine.cli.moments import moment_ms
from shards.administration.checks import APPLE_ID
from shards.administration.credential_request import EnvironmentName
from shards.administration.requests import LimitChanges

_CREDENTIAL: Final = Group("Credential")
_LIMITS: Final = Group("Limits")

FILE_BYTES_MOST: Final = 256 * 1024
# as Apple calls it, or a browser that has downloaded it twice
_FILE_NAME: Final = re.compile(r"AuthKey_([A-Z0-9]{10})(?: ?\(\d+\))?\.p8")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ShowParams:
    """How what is shown is written."""

    json: Annotated[bool, Parameter(name="--json", negative="")] = False
    "As JSON, as the admin API answers it."


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CredentialParams:
    """What APNs is to know the tenant by."""

    team_id: Annotated[str | None, Parameter(group=_CREDENTIAL)] = None
    "Apple's id of the team, 10 characters (developer account, membership details)."

    key_id: Annotated[str | None, Parameter(group=_CREDENTIAL)] = None
    "Apple's id of the key, 10 characters; without it, the one in the name of the file AuthKey_….p8."

    key_file: Annotated[Path | None, Parameter(group=_CREDENTIAL)] = None
    "The .p8 key that signs the team's pushes. It is stored encrypted."

    certificate_file: Annotated[Path | None, Parameter(group=_CREDENTIAL)] = None
    "In place of a key: a push certificate with its private key, as .p12 or .pem."

    certificate_password_file: Annotated[Path | None, Parameter(group=_CREDENTIAL)] = None
    "File of the password that the certificate's file is protected with."

    environment: Annotated[list[EnvironmentName] | None, Parameter(group=_CREDENTIAL, negative="")] = None
    "Where the key works: production, sandbox; may be given twice. Without it, in both."

    not_after: Annotated[str | None, Parameter(group=_CREDENTIAL)] = None
    "When it is to be used no more: 2027-01-31, 2027-01-31T18:00+01:00, or 90d from now."

    def given(self) -> bool:
        """Whether any of it was."""
        return any(value is not None for value in vars(self).values())

    def fields(self) -> dict[str, Any]:
        """The fields of a request for a credential. Raises CommandError for a file that can't be read."""
        return {
            "team_id": self.team_id or "",
            "key_id": _key_id(self.key_id, self.key_file),
            "key": _text_of("--key-file", self.key_file),
            "certificate": _certificate(self.certificate_file),
            "password": _text_of("--certificate-password-file", self.certificate_password_file).rstrip(
                "\r\n"
            ),
            "environments": UNSET if self.environment is None else tuple(self.environment),
            "not_after_ms": moment_ms("--not-after", self.not_after),
        }


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LimitParams:
    """What a tenant may ask of the gateway."""

    weight: Annotated[int | None, Parameter(group=_LIMITS)] = None
    "Its share when others wait too: one of weight 2 is served twice as much as one of weight 1."

    send_per_s: Annotated[float | None, Parameter(group=_LIMITS)] = None
    "Pushes a second that are handed to APNs; 0 for any number."

    in_flight_most: Annotated[int | None, Parameter(group=_LIMITS)] = None
    "Pushes in workers' hands at one time; 0 for any number."

    admit_per_s: Annotated[float | None, Parameter(group=_LIMITS)] = None
    "Pushes a second that the API takes in; 0 for any number."

    admit_burst: Annotated[int | None, Parameter(group=_LIMITS)] = None
    "How many of them it takes in at once; 0 for one second's worth."

    queue_most: Annotated[int | None, Parameter(group=_LIMITS)] = None
    "Pushes to an environment that may stand ready, above which no more are taken in; 0 for the gateway's default."

    def given(self) -> bool:
        """Whether any of it was."""
        return any(value is not None for value in vars(self).values())

    def request(self) -> LimitChanges:
        return LimitChanges(**{name: value for name, value in vars(self).items() if value is not None})


def _key_id(given: str | None, file: Path | None) -> str:
    """The one that was given, or that Apple wrote into the file's name."""
    named = _FILE_NAME.fullmatch(file.name) if file is not None else None
    if given and named is not None and APPLE_ID.fullmatch(given) and named[1] != given:
        raise CommandError(
            f"--key-id is {given}, and --key-file is called {named[0]}: give the id or the file that is meant, or, if "
            "the file has the wrong name, rename it"
        )
    return given or (named[1] if named is not None else "")


def _certificate(path: Path | None) -> str:
    if path is None:
        return ""
    content = _content_of("--certificate-file", path)
    # a request is text: what is none goes in base64, as over HTTP
    if b"-----BEGIN" in content:
        return content.decode("utf-8", "replace")
    return base64.b64encode(content).decode()


def _text_of(option: str, path: Path | None) -> str:
    return "" if path is None else _content_of(option, path).decode("utf-8", "replace")


def _content_of(option: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MOST + 1)
    except OSError as error:
        raise CommandError(f"{option} {path} can't be read: {error.strerror}") from error
    if not content:
        raise CommandError(f"{option} {path} is empty: give the file that Apple handed out")
    if len(content) > FILE_BYTES_MOST:
        raise CommandError(f"{option} {path} is too long for a key: give the file that Apple handed out")
    return content
