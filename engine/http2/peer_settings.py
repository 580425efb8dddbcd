"""What the peer allows (RFC 9113, 6.5.2): its SETTINGS as they stand now."""

from collections.abc import Sequence
from typing import Final

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from engine.http2.faults import Violation
from engine.http2.frames import MAX_FRAME_SIZE_LEAST, MAX_FRAME_SIZE_MOST, WINDOW_MOST
from engine.http2.windows import INITIAL_WINDOW

# a peer that names no limit means "no limit"; one number keeps arithmetic simple
STREAMS_UNLIMITED: Final = 2**31 - 1


class PeerSettings:
    """The peer's limits; RFC 9113's initial values until its first SETTINGS frame has come."""

    __slots__ = (
        "initial_window_size",
        "max_concurrent_streams",
        "max_frame_size",
        "received",
    )

    def __init__(self) -> None:
        self.received = False
        self.initial_window_size = INITIAL_WINDOW
        self.max_concurrent_streams = STREAMS_UNLIMITED
        self.max_frame_size = MAX_FRAME_SIZE_LEAST

    def apply(self, values: Sequence[tuple[int, int]]) -> None:
        """Take over one SETTINGS frame, in order. Raises Violation for a value that the RFC forbids."""
        self.received = True
        for code, value in values:
            match code:
                case SettingCodes.ENABLE_PUSH:
                    if value != 0:
                        raise Violation(ErrorCodes.PROTOCOL_ERROR, f"a server set ENABLE_PUSH to {value}")
                case SettingCodes.MAX_CONCURRENT_STREAMS:
                    self.max_concurrent_streams = value
                case SettingCodes.INITIAL_WINDOW_SIZE:
                    if value > WINDOW_MOST:
                        raise Violation(ErrorCodes.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value}")
                    self.initial_window_size = value
                case SettingCodes.MAX_FRAME_SIZE:
                    if not MAX_FRAME_SIZE_LEAST <= value <= MAX_FRAME_SIZE_MOST:
                        raise Violation(ErrorCodes.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}")
                    self.max_frame_size = value
                case _:
                    # the header encoder follows the table size; unknown settings are ignored, and the peer's
                    # header list limit is advice that a push never nears
                    continue
