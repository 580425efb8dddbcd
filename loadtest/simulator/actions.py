"""What a script's rule can do: the actions, as JSON objects told apart by their member `do`.

Fates decide what becomes of a push: `judge`, `answer`, `reset_stream`, `silence`. Effects act on the
connection: `goaway`, `close`, `black_hole`, `stop_reading`, `limit_streams`, `withhold_window`; and `delay`
postpones what is listed after it. A new kind of failure is a new Struct here and a new case in the session.
"""

from typing import Any, Literal

import msgspec
from h2.errors import ErrorCodes

from loadtest.simulator.vocabulary import STATUS


class Judge(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="judge"
):
    """Answer as Apple would. Only needed to give the judgement its place among other actions."""


class Answer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="answer"
):
    """Answer this. The status follows from the reason if that is one of Apple's.

    `body` replaces the JSON body (text that is not JSON, or none: ""), `data_frames` splits it, `apns_id`
    makes the answer's header absent or upper case, `headers` are further ones, names in lower case.
    """

    status: int | None = None
    reason: str = ""
    timestamp_ms: int | None = None
    body: str | None = None
    data_frames: Literal[1, 2] = 1
    apns_id: Literal["echo", "upper", "absent"] = "echo"
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.status is None and self.reason not in STATUS:
            raise ValueError(f"status: required, since the reason {self.reason!r} does not imply one")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: must be 200 to 599, not {self.status}")

    @property
    def status_code(self) -> int:
        """The status to send."""
        return STATUS[self.reason] if self.status is None else self.status


class ResetStream(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="reset_stream"
):
    """RST_STREAM with this code (a number, or a name of RFC 9113 section 7). The push is not judged."""

    code: int | str = "REFUSED_STREAM"

    def __post_init__(self) -> None:
        error_code(self.code)


class Silence(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="silence"
):
    """Never answer. With `judged`, the push is judged and in the ledger, and its answer withheld."""

    judged: bool = False


class Delay(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="delay"
):
    """Perform the actions after this one so much later."""

    delay_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.delay_s <= 86_400:
            raise ValueError(f"delay_s: must be 0 to 86400, not {self.delay_s}")


class GoAway(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="goaway"
):
    """GOAWAY. Its last stream id is that of the newest request decided so far (0 at `connect`), moved by so
    many streams. Streams above it are dropped without an answer, streams up to it are still served.

    With a negative offset requests are disowned that may be in the ledger as accepted already: that is a
    lying server, for tests of what a client does with the second, lower GOAWAY of two.
    """

    last_stream_offset: int = 0
    code: int | str = "NO_ERROR"
    debug: dict[str, Any] | str | None = None

    def __post_init__(self) -> None:
        error_code(self.code)

    def debug_bytes(self) -> bytes:
        """The debug data: a string as it is, an object as JSON."""
        if self.debug is None:
            return b""
        return self.debug.encode() if isinstance(self.debug, str) else msgspec.json.encode(self.debug)


class Close(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="close"
):
    """End the TCP connection; with `abort`, by a reset, losing what was not yet sent."""

    abort: bool = False


class BlackHole(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="black_hole"
):
    """Stop reading and writing for good, while the TCP connection stays up.

    Swallows what this batch has said so far; a `delay` of 0 before it lets that out. At `connect` even the
    SETTINGS are swallowed.
    """


class StopReading(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="stop_reading"
):
    """Read nothing more, for good, but go on to speak: a PING each `ping_every_s`.

    To a client that only listens for life, such a connection is well; its own writes come to a stop.
    """

    ping_every_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.001 <= self.ping_every_s <= 86_400:
            raise ValueError(f"ping_every_s: must be 0.001 to 86400, not {self.ping_every_s}")


class LimitStreams(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="limit_streams"
):
    """SETTINGS_MAX_CONCURRENT_STREAMS. Open streams in excess are refused, unless `keep_open`."""

    streams: int
    keep_open: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.streams < 2**31:
            raise ValueError(f"streams: must be 0 to 2147483647, not {self.streams}")


class WithholdWindow(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="do",
    tag="withhold_window",
):
    """Return no connection window for so long, or for good."""

    for_s: float | None = None


Fate = Judge | Answer | ResetStream | Silence
Action = (
    Judge
    | Answer
    | ResetStream
    | Silence
    | Delay
    | GoAway
    | Close
    | BlackHole
    | StopReading
    | LimitStreams
    | WithholdWindow
)


def error_code(code: int | str) -> int:
    """The number of an HTTP/2 error code given by name or number. ValueError for an unknown name."""
    if isinstance(code, int):
        return code
    try:
        return int(ErrorCodes[code])
    except KeyError:
        names = ", ".join(member.name for member in ErrorCodes)
        raise ValueError(
            f"code: {code!r} is no HTTP/2 error code; write a number or one of {names}"
        ) from None
