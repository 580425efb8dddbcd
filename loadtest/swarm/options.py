"""What the locustfile can be told besides Locust's own options, and the API keys that it is given.

A key is read from ``--api-keys-file`` or from the environment; ``--api-key`` is for a gateway of one's own, since the
command line of a process can be read by others. Keys are in no form, report or line that Locust prints.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from loadtest.swarm.shapes import Shape

API_KEY_VARIABLE: Final = "CLARION_API_KEY"
DEFAULT_HOST: Final = "http://127.0.0.1:8080"
DEFAULT_BATCH: Final = 100
DEFAULT_PAYLOAD_BYTES: Final = 256
DEFAULT_EACH_PER_S: Final = 10.0
# what the API takes at most
BATCH_MOST: Final = 10_000
PAYLOAD_BYTES_MOST: Final = 4096


class OptionError(Exception):
    """An option can't be used; the text says what to write instead."""


class Tenant(NamedTuple):
    """Whom a user pushes for."""

    api_key: str
    topic: str

    def __repr__(self) -> str:
        return f"<Tenant {self.topic}>"


def add_options(parser: Any) -> None:
    """To Locust's parser, which takes more than that of the standard library; what it shows in the form of its web
    page must be added to it and to none of its groups."""
    shapes = [shape.value for shape in Shape]
    for name, default, explained in (
        ("--batch", DEFAULT_BATCH, "Clarion: pushes in one batch"),
        ("--payload-bytes", DEFAULT_PAYLOAD_BYTES, "Clarion: size of each payload"),
        (
            "--each-per-s",
            DEFAULT_EACH_PER_S,
            "Clarion: requests that each user sends in a second, if answers come in time. 0: as many as are answered",
        ),
        ("--topic", "", "Clarion: for API keys that come without one"),
    ):
        parser.add_argument(name, type=type(default), default=default, help=explained)
    parser.add_argument(
        "--shape",
        choices=shapes,
        default=Shape.NONE.value,
        help="Clarion: how the users come and go: none (as -u, -r and -t say), ramp, spike or soak; -u is the most",
    )
    for name, explained in (
        ("--api-key", "Clarion: a tenant's API key; better in the environment"),
        ("--api-keys-file", "Clarion: a tenant on each line: its API key, and its topic if it has one"),
        ("--tally-file", "Clarion: write what all answers came to to this file, as JSON"),
        ("--push-log", "Clarion: add each request and its pushes' ids to this file, to be judged later"),
    ):
        variable = {"env_var": API_KEY_VARIABLE} if name == "--api-key" else {}
        parser.add_argument(name, default="", include_in_web_ui=False, help=explained, **variable)


def tenants_of(options: Namespace) -> Sequence[Tenant]:
    """Those to push for, at least one. Raises OptionError."""
    if options.api_keys_file:
        try:
            lines = Path(options.api_keys_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise OptionError(f"--api-keys-file can't be read: {reason}") from None
        written = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    else:
        written = [[options.api_key]] if options.api_key else []
    if not written:
        raise OptionError(f"there is no API key; set ${API_KEY_VARIABLE}, or give --api-keys-file FILE")
    for number, words in enumerate(written, 1):
        if len(words) > 2:
            raise OptionError(f"--api-keys-file: key {number} is followed by more than its topic")
        if len(words) == 1 and not options.topic:
            raise OptionError(f"API key {number} has no topic; give --topic, or write it behind the key")
    return [Tenant(key, *topic) if topic else Tenant(key, options.topic) for key, *topic in written]


def validate(options: Namespace) -> None:
    """Raises OptionError for the first that can't be used."""
    within = (
        ("--batch", options.batch, 1, BATCH_MOST),
        ("--payload-bytes", options.payload_bytes, 20, PAYLOAD_BYTES_MOST),
        ("--each-per-s", options.each_per_s, 0, 10_000),
    )
    for name, given, least, most in within:
        if not least <= given <= most:
            raise OptionError(f"{name} is {given:g}; write a number from {least:,} to {most:,}")
