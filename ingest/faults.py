"""What one of msgspec's errors means for the tenant who wrote the body, and what to write instead. Pure.

msgspec's texts are parsed here and nowhere else. However large a body is, only a few bytes of it are looked at one by
one: those in front of the byte that is named.
"""

import re
from difflib import get_close_matches
from typing import Final

import msgspec

from ingest.problems import Code
from shards.problem import Refusal

# What a value must be, for each field that has a type of its own.
EXPECTED: Final = {
    "device_token": "a string of hexadecimal digits, as the app got it from Apple",
    "device_tokens": "an array of such strings, one for each device",
    "topic": "a string: the app's bundle id, with Apple's suffix for the push type if that has one",
    "payload": 'a JSON object such as {"aps": {"alert": "Hello"}}',
    "lane": '"high" or "low"',
    "push_type": 'a string such as "alert" or "background"',
    "priority": "1, 5 or 10, or absent",
    "expiration": "Unix time in whole seconds, or 0 for one attempt without storing, or absent",
    "collapse_id": "a string of at most 64 bytes, or absent",
    "environment": '"production" or "sandbox"',
}

# What other gateways and Apple's own headers call our fields; spelling mistakes are found by likeness.
OTHER_NAMES: Final = {
    "token": "device_token",
    "tokens": "device_token",
    "device": "device_token",
    "registrationid": "device_token",
    "apnstopic": "topic",
    "bundleid": "topic",
    "app": "topic",
    "aps": "payload",
    "data": "payload",
    "body": "payload",
    "alert": "payload",
    "message": "payload",
    "notification": "payload",
    "type": "push_type",
    "apnspushtype": "push_type",
    "apnspriority": "priority",
    "ttl": "expiration",
    "expiry": "expiration",
    "expires": "expiration",
    "apnsexpiration": "expiration",
    "collapsekey": "collapse_id",
    "apnscollapseid": "collapse_id",
    "threadid": "collapse_id",
    "env": "environment",
    "sandbox": "environment",
    "development": "environment",
    "production": "environment",
    "queue": "lane",
    "urgency": "lane",
}

EMPTY_BODY: Final = Refusal(Code.EMPTY_BODY, "send the notification as a JSON object in the body")
NOT_UNICODE: Final = Refusal(
    Code.MALFORMED_JSON,
    "a text is not valid Unicode: JSON is sent as UTF-8, and a \\ud8.. escape needs its second half "
    "(was an emoji cut in two?)",
)
TOO_DEEP: Final = Refusal(Code.MALFORMED_JSON, "arrays or objects are nested too deeply")

# Likeness is looked for so often in one request: it takes longer than decoding a notification, and a batch may have
# another unknown name in each.
GUESSES_MOST: Final = 20
NAME_SHOWN_MOST: Final = 32
# An escape has 6 bytes, a surrogate pair 12.
ESCAPE_BYTES: Final = 6

_PLACE: Final = re.compile(r" - at `\$(?:\.(\w+))?.*`$", re.DOTALL)
_NAMED_FIELD: Final = re.compile(r"(missing required|contains unknown) field `(.*)`", re.DOTALL)
_NAMED_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
# Only a name that can't be a device token or a key is said back: short, and not all digits of hexadecimal.
_SAFE_NAME: Final = re.compile(r"(?![0-9a-fA-F]{9,}$)[A-Za-z][A-Za-z0-9_.-]*")
# where no escaped backslash is left
_HALF_ALONE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


class Faults:
    """Tells the faults of one request, whose notifications have these ``fields``."""

    def __init__(self, fields: tuple[str, ...], not_a_container: Refusal) -> None:
        self._fields = fields
        self._not_a_container = not_a_container
        self._guessed: dict[str, Refusal] = {}

    def __repr__(self) -> str:
        return f"<Faults, {len(self._guessed)} of {GUESSES_MOST} names guessed>"

    def refusal(self, error: Exception, body: bytes) -> Refusal:
        """What this error of decoding this body means."""
        if isinstance(error, RecursionError):
            return TOO_DEEP
        if isinstance(error, UnicodeDecodeError):
            return NOT_UNICODE
        text = str(error)
        if not isinstance(error, msgspec.ValidationError):
            if not body or body.isspace():
                return EMPTY_BODY
            if not is_utf8(body) or _has_half_before(body, _named_byte(text, body)):
                return NOT_UNICODE
            said = text.removeprefix("JSON is malformed: ")
            return Refusal(Code.MALFORMED_JSON, said[:1].lower() + said[1:])
        named = _NAMED_FIELD.search(text)
        if named is not None:
            return _missing(named[2]) if named[1] == "missing required" else self._unknown(named[2])
        place = _PLACE.search(text)
        field = place[1] if place is not None else None
        if field not in EXPECTED:
            return self._not_a_container
        code = Code.WRONG_TYPE if "got `" in text else Code.WRONG_VALUE
        return Refusal(code, f"{field} must be {EXPECTED[field]}", f"/{field}")

    def _unknown(self, name: str) -> Refusal:
        """A name that comes again is told the same again."""
        if len(name) > NAME_SHOWN_MOST or _SAFE_NAME.fullmatch(name) is None:
            listed = f"a field is not known; the fields are {', '.join(self._fields)}"
            return Refusal(Code.FIELD_UNKNOWN, listed)
        refusal = self._guessed.get(name)
        if refusal is None:
            may_guess = len(self._guessed) < GUESSES_MOST
            meant = _meant(name, self._fields, may_guess=may_guess)
            advice = f"did you mean {meant}?" if meant else f"the fields are {', '.join(self._fields)}"
            refusal = Refusal(Code.FIELD_UNKNOWN, f"there is no field {name}; {advice}", f"/{name}")
            if may_guess:
                self._guessed[name] = refusal
        return refusal


def is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def without_escaped_backslashes(text: bytes) -> bytes:
    """JSON of the same length, in which every backslash that is left begins an escape."""
    return text.replace(rb"\\", b"__")


def _named_byte(text: str, body: bytes) -> int:
    """Up to where msgspec read the body; an error that names no byte came at its end."""
    named = _NAMED_BYTE.search(text)
    return int(named[1]) if named is not None else len(body)


def _has_half_before(body: bytes, end: int) -> bool:
    """Whether half of a surrogate pair stands alone near this byte, which msgspec refuses though the grammar allows it
    (RFC 8259, section 8.2)."""
    start = max(0, end - 3 * ESCAPE_BYTES)
    # a run of backslashes that reaches into what is looked at may leave the last one of it open
    start -= (start - len(body[:start].rstrip(b"\\"))) % 2
    near = without_escaped_backslashes(body[start : end + ESCAPE_BYTES])
    # what stands before these two escapes is only there to be looked back at
    return _HALF_ALONE.search(near, max(0, end - 2 * ESCAPE_BYTES - start)) is not None


def _missing(field: str) -> Refusal:
    return Refusal(Code.FIELD_MISSING, f"add {field}: {EXPECTED[field]}", f"/{field}")


def _meant(name: str, fields: tuple[str, ...], *, may_guess: bool) -> str | None:
    """The field that is called otherwise, or is misspelled like this."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    meant = OTHER_NAMES.get(plain)
    if meant is None and may_guess:
        likely = {field.replace("_", ""): field for field in fields}
        close = get_close_matches(plain, likely, n=1, cutoff=0.7)
        meant = likely[close[0]] if close else None
    return "device_tokens" if meant == "device_token" and meant not in fields else meant
