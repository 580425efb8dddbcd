"""The request for a new credential: from the file that Apple handed out to what is stored of it.

Door rule, and as for all requests: ``check`` finds what is wrong in itself, and ``repr`` shows no secret.
"""

import base64
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shards.administration.checks import (
    ActionRefused,
    check_apple_id,
    check_bundle_ids,
    check_credential_name,
    check_end,
    check_overlap,
)
from shards.credential import BOTH, Credential
from shards.key_files import KeyFileError, load_p8
from shards.key_reading import read_certificate

EnvironmentName = Literal["production", "sandbox"]
UnixMs = Annotated[int, Meta(description="Unix time in milliseconds; 0 for no end.")]


class NewCredential(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A credential to add: a provider key with its ids, or a push certificate, which says the rest itself."""

    key: Annotated[str, Meta(description="The text of the .p8 file. Stored encrypted, and never shown.")] = ""
    key_id: Annotated[str, Meta(description="Apple's id of the key: 10 capital letters and digits.")] = ""
    team_id: Annotated[str, Meta(description="Apple's id of the team: 10 capital letters and digits.")] = ""
    certificate: Annotated[
        str, Meta(description="In place of a key: the text of a .pem file, or a .p12 file in base64.")
    ] = ""
    password: Annotated[str, Meta(description="What the certificate's file is protected with.")] = ""
    name: Annotated[
        str, Meta(description="What to call it here. Left out: the key id, or the certificate's bundle id.")
    ] = ""
    environments: (
        Annotated[tuple[EnvironmentName, ...], Meta(description="Where the key works. Left out: in both.")]
        | UnsetType
    ) = UNSET
    topics: (
        Annotated[tuple[str, ...], Meta(description="A topic-specific key's bundle ids. Left out: for all.")]
        | UnsetType
    ) = UNSET
    not_after_ms: UnixMs = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or self.key_id}>"

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        self.read(now_ms)

    def read(self, now_ms: int, team_id: str = "") -> tuple[Credential, bytes]:
        """The credential, not sealed yet, and its secret. Raises ActionRefused.

        ``team_id``: whose a certificate is that does not say it, when the request does not say it either.
        """
        if not self.key and not self.certificate:
            raise ActionRefused("key", "or a certificate is needed: give the file of one of them")
        if self.key and self.certificate:
            raise ActionRefused("certificate", "can't stand beside a key: they are two credentials")
        check_end("not_after_ms", self.not_after_ms, now_ms)
        draft, secret = self._from_certificate(team_id) if self.certificate else self._from_key()
        check_credential_name("name", draft.name)
        return draft, secret

    def _from_key(self) -> tuple[Credential, bytes]:
        check_apple_id("team_id", self.team_id)
        check_apple_id("key_id", self.key_id)
        if self.password:
            raise ActionRefused("password", "is for certificates: a .p8 file has none")
        environments = BOTH if self.environments is UNSET else self.environments
        if not environments:
            raise ActionRefused("environments", "is empty: write production, sandbox or both")
        topics = () if self.topics is UNSET else self.topics
        check_bundle_ids("topics", topics)
        secret = self.key.encode("utf-8", "surrogatepass")
        try:
            load_p8(secret)
        except KeyFileError as error:
            raise ActionRefused("key", f"can't sign pushes: {error}") from None
        return Credential(
            name=self.name or self.key_id,
            team_id=self.team_id,
            key_id=self.key_id,
            sealed=b"",
            environments=tuple(dict.fromkeys(environments)),
            topics=tuple(dict.fromkeys(topics)),
            not_after_ms=self.not_after_ms,
        ), secret

    def _from_certificate(self, otherwise: str) -> tuple[Credential, bytes]:
        for field in ("key_id", "environments", "topics"):
            if getattr(self, field) not in ("", UNSET):
                raise ActionRefused(field, "is for keys: what a certificate is for is written in it")
        try:
            found = read_certificate(_file_content(self.certificate), self.password)
        except KeyFileError as error:
            raise ActionRefused("certificate", f"can't be used: {error}") from None
        if self.team_id and found.team_id and self.team_id != found.team_id:
            raise ActionRefused("team_id", f"is another than the certificate's, which is {found.team_id}")
        team_id = found.team_id or self.team_id or otherwise
        check_apple_id("team_id", team_id)
        return Credential(
            name=self.name or found.bundle_id,
            team_id=team_id,
            key_id="",
            sealed=b"",
            kind="certificate",
            environments=found.environments,
            topics=found.topics,
            not_after_ms=min(filter(None, (found.not_after_ms, self.not_after_ms))),
        ), found.pem


class Rotation(NewCredential, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A newer credential that takes the place of one. What is left out of a key is as with the old one."""

    overlap_s: (
        Annotated[float, Meta(description="In how many seconds the old one ends. Left out: not by itself.")]
        | UnsetType
    ) = UNSET

    def read(self, now_ms: int, team_id: str = "") -> tuple[Credential, bytes]:
        if self.overlap_s is not UNSET:
            check_overlap("overlap_s", self.overlap_s)
        return super().read(now_ms, team_id)

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        # what is left out is looked up later; a certificate is not of another team than one that is not known yet
        (self if self.certificate else self.after(_ANY)).read(now_ms, _ANY.team_id)

    def after(self, old: Credential) -> "Rotation":
        """The same, with what was left out."""
        team_id = self.team_id or old.team_id
        if self.certificate:
            return msgspec.structs.replace(self, team_id=team_id)
        return msgspec.structs.replace(
            self,
            team_id=team_id,
            environments=old.environments if self.environments is UNSET else self.environments,
            topics=old.topics if self.topics is UNSET else self.topics,
        )


# stands for the credential that a rotation begins with, as long as nobody has looked it up
_ANY: Final = Credential("any", "A1B2C3D4E5", "A1B2C3D4E5", b"")


def _file_content(text: str) -> bytes:
    """A file that came in a string: as its text, or in base64. Raises KeyFileError."""
    if "-----BEGIN" in text:
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise KeyFileError("it is neither the text of a .pem file, nor a .p12 file in base64") from None
