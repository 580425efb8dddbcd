"""Secrets in every form in which they could be written down, and the places in which they were looked for."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shards.key_files import load_p8

# a text that holds less of a secret than this gives nothing away
TELLING = 16


class Place(NamedTuple):
    """Something that somebody may read: a log, an answer, a file."""

    name: str
    content: bytes


def of_bytes(secret: bytes) -> Iterator[bytes]:
    """A secret of bytes: as they are, in hexadecimal, in base64 at each of its three offsets, and as a number."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield b":".join(b"%02x" % byte for byte in secret)
    yield str(int.from_bytes(secret)).encode()
    # as Python and JSON would show it
    yield repr(secret)[2:-1].encode()
    for offset in range(3):
        shifted = base64.b64encode(bytes(offset) + secret).rstrip(b"=")
        # without the digits that depend on what stands before or after
        text = shifted[-(-8 * offset // 6) : len(shifted) - 1]
        yield text
        yield text.translate(bytes.maketrans(b"+/", b"-_"))


def of_text(secret: str) -> Iterator[bytes]:
    """A secret that is text: whole, any good part of it, and in base64 and hexadecimal."""
    raw = secret.encode()
    yield from (raw[first : first + TELLING] for first in range(0, len(raw) - TELLING + 1, 8))
    yield from of_bytes(raw)


def of_key(pem: bytes) -> Iterator[bytes]:
    """A .p8 key: the lines of its file, its DER, and the number that is all of its secret."""
    lines = [line for line in pem.splitlines() if b"PRIVATE KEY" not in line]
    body = b"".join(lines)
    key = load_p8(pem)
    scalar = key.private_numbers().private_value.to_bytes(32)
    # the first line begins as in every key of this kind
    yield from (body[first : first + TELLING] for first in range(48, len(body) - TELLING + 1, 8))
    yield from of_bytes(base64.b64decode(body))
    yield from of_bytes(scalar)
    for form in (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8):
        yield key.private_bytes(Encoding.DER, form, NoEncryption())


def of_token(token: bytes) -> Iterator[bytes]:
    """A provider token: its signature. The rest of it is ids and a time."""
    signature = token.rpartition(b".")[2]
    yield from (signature[first : first + TELLING] for first in range(0, len(signature) - TELLING + 1, 8))


class Trove:
    """Secrets by name, each in all its forms."""

    def __init__(self) -> None:
        self.forms: dict[str, tuple[bytes, ...]] = {}

    def add(self, name: str, forms: Iterable[bytes]) -> None:
        self.forms[name] = tuple(dict.fromkeys(forms))
        assert min(map(len, self.forms[name])) >= TELLING, name

    def found_in(self, places: Iterable[Place]) -> list[str]:
        """Which secret is in which place; only their names, so that a test that fails gives nothing away."""
        return [
            f"{name} in {place.name}"
            for place in places
            for name, forms in self.forms.items()
            if any(form in place.content for form in forms)
        ]


def device_tokens(tokens: Iterable[str]) -> dict[str, re.Pattern[bytes]]:
    """For each device token what would find it: its first digits, in either case."""
    return {token[:8]: re.compile(token[:TELLING].encode(), re.IGNORECASE) for token in tokens}


def devices_in(places: Iterable[Place], tokens: Mapping[str, re.Pattern[bytes]]) -> list[str]:
    return [
        f"device {name}… in {place.name}"
        for place in places
        for name, pattern in tokens.items()
        if pattern.search(place.content)
    ]


def without_once(content: bytes, secret: str) -> bytes:
    """What is left where a secret is shown on purpose. It must be there, once, and as it is."""
    assert content.count(secret.encode()) == 1, "shown more than once, or not at all"
    return content.replace(secret.encode(), b"")


def as_json(pem: bytes) -> str:
    """A key file's text as one line of JSON, without the quotes."""
    return json.dumps(pem.decode())[1:-1]
