"""Why a command could not do what was asked; the text is one line that says what to do instead."""

from typing import Final

from shards.administration.checks import ActionRefused

# fields of requests that are not spelled as the option is
_OPTIONS: Final = {
    "name": "the name",
    "bundle_id": "the bundle id",
    "applications": "--topic",
    "topics": "--topic",
    "environments": "--environment",
    "scopes": "--scope",
    "key": "--key-file",
    "certificate": "--certificate-file",
    "password": "--certificate-password-file",
    "not_after_ms": "--not-after",
    "overlap_s": "--overlap",
    "after_s": "--after",
}


class CommandError(Exception):
    """What the person gave, or the machine lacks, stands in the way."""


def in_options(refused: ActionRefused) -> str:
    """What was refused, with the option's name in place of the request's field."""
    names = [
        each for each in refused.field.split("/") if each not in ("", "limits", "credential", "settings")
    ]
    if not names:
        return refused.reason
    option = _OPTIONS.get(names[0], f"--{names[0].replace('_', '-')}")
    return f"{option} {refused.reason}"
