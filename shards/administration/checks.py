"""What an administrator may ask for, field by field, and the sentence for what can't be.

Each sentence names what to write instead.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from shards.quoting import looks_secret, quoted
from shards.tenant import RATE_LEAST

APPLICATIONS_MOST: Final = 1_000
CREDENTIALS_MOST: Final = 50
KEYS_MOST: Final = 100
WEIGHT_MOST: Final = 1_000
RATE_MOST: Final = 10_000_000
COUNT_MOST: Final = 1_000_000_000
SPREAD_MOST: Final = 64
LABEL_LENGTH_MOST: Final = 100
OVERLAP_MOST_S: Final = 366 * 86_400

TENANT_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
APPLE_ID: Final = re.compile(r"[A-Z0-9]{10}")
# a name in reverse, with a dot at least: so it is no line out of a key file
BUNDLE_ID: Final = re.compile(r"(?=.*\.)[A-Za-z0-9][A-Za-z0-9.-]{0,198}[A-Za-z0-9]")
CREDENTIAL_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,153}[A-Za-z0-9])?")
KEY_PREFIX: Final = re.compile(r"clarion_[0-9a-f]{8}")

# 2001 in ms is 1970 in seconds: whoever gives seconds is told so
_MS_LEAST: Final = 1_000_000_000_000
# the year 9999; a record holds no number of more than 64 bits
_MS_MOST: Final = 253_402_300_799_999


class ActionRefused(Exception):
    """What was asked for can't be done.

    ``field`` is what is wrong in it ("team_id", "applications/0", "limits/weight"), or "" when it is right in itself,
    and what is there stands in its way. ``reason`` goes on from the field's name, and is a sentence without one.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}" if field else reason)
        self.field = field
        self.reason = reason

    def within(self, field: str) -> "ActionRefused":
        """The same, where what was looked at is a part of something."""
        return ActionRefused("/".join(filter(None, (field, self.field))), self.reason)


def check_form(field: str, text: str, form: re.Pattern[str], shape: str) -> None:
    """Raises ActionRefused unless the text has the form; ``shape`` is the form in words."""
    if not form.fullmatch(text):
        raise ActionRefused(field, f"{quoted(text)} can't be: write {shape}")


def check_tenant_name(field: str, name: str) -> None:
    check_form(field, name, TENANT_NAME, "lower-case letters, digits and hyphens, at most 63, such as acme")


def check_apple_id(field: str, given: str) -> None:
    where = "that Apple shows for the team" if field == "team_id" else "in the name AuthKey_….p8"
    check_form(field, given, APPLE_ID, f"the 10 capital letters and digits {where}")


def check_credential_name(field: str, name: str) -> None:
    check_form(
        field, name, CREDENTIAL_NAME, "letters, digits, dots and hyphens, at most 155, such as the key's id"
    )
    if "." not in name:
        check_open(field, name)


def check_bundle_ids(field: str, bundle_ids: Sequence[str]) -> None:
    for number, each in enumerate(bundle_ids):
        check_bundle_id(f"{field}/{number}", each)
    if len(bundle_ids) > APPLICATIONS_MOST:
        raise ActionRefused(field, f"has {len(bundle_ids)} bundle ids; write at most {APPLICATIONS_MOST}")


def check_bundle_id(field: str, bundle_id: str) -> None:
    check_form(field, bundle_id, BUNDLE_ID, "a bundle id such as com.acme.app")


def check_known(field: str, topics: Iterable[str], applications: Sequence[str]) -> None:
    """Raises ActionRefused for a topic that is none of the tenant's applications."""
    for number, topic in enumerate(topics):
        if topic not in applications:
            raise ActionRefused(
                f"{field}/{number}",
                f"{quoted(topic)} is no application of this tenant, which has {listed(applications)}; "
                "add the application first, or write one that it has",
            )


def check_number(field: str, number: float, least: float, most: float) -> None:
    """Raises ActionRefused for what lies outside, and for what is no number."""
    if not least <= number <= most:
        # JSON has whole numbers that are no float
        told = "beyond all bounds" if abs(number) > sys.float_info.max else f"{number:g}"
        raise ActionRefused(field, f"is {told}; write a number from {least:g} to {most:g}")


def check_rate(field: str, per_s: float) -> None:
    """Raises ActionRefused for a rate that is neither none (0) nor one that can be kept to."""
    if per_s != 0 and not RATE_LEAST <= per_s <= RATE_MOST:
        raise ActionRefused(
            field,
            f"is {per_s:g}; write a number from {RATE_LEAST:g} to {RATE_MOST:g}, or 0 for no limit of its own",
        )


def check_label(label: str) -> None:
    if len(label) > LABEL_LENGTH_MOST or not label.isprintable():
        raise ActionRefused(
            "label", f"can't be: write at most {LABEL_LENGTH_MOST} characters, without line breaks"
        )
    check_open("label", label)


def check_open(field: str, text: str) -> None:
    """Raises ActionRefused for what may be a secret, where everybody will see it."""
    if looks_secret(text):
        raise ActionRefused(field, "looks like a key, and is shown to everybody: write a word")


def check_end(field: str, not_after_ms: int, now_ms: int) -> None:
    """Raises ActionRefused for an end that is over, or beyond all time; 0 is none."""
    if not not_after_ms or now_ms < not_after_ms <= _MS_MOST:
        return
    if not_after_ms > now_ms:
        raise ActionRefused(field, "is after the year 9999: write Unix time in milliseconds, or 0 for no end")
    if 0 < not_after_ms < _MS_LEAST:
        raise ActionRefused(field, "is in the year 1970 or before it: write Unix time in milliseconds")
    raise ActionRefused(field, "is over: write a time to come, or disable or revoke it now")


def check_overlap(field: str, overlap_s: float) -> None:
    check_number(field, overlap_s, 0, OVERLAP_MOST_S)


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, not too many of them."""
    known = list(names)
    if not known:
        return "none"
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return ", ".join(known[:10]) + more
