"""How the codec names a violation of RFC 9113 to itself.

Inside the codec a violation unwinds to the one door where the peer's bytes enter, ``Connection.receive``, which
turns it into the event ``ConnectionFault`` or ``StreamFault``. It never leaves the package as an exception.
"""

from h2.errors import ErrorCodes


class Violation(Exception):
    """The peer broke the protocol; the connection can't go on (RFC 9113, 5.4.1)."""

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamViolation(Exception):
    """The peer broke the protocol on one stream only (RFC 9113, 5.4.2)."""

    def __init__(self, stream_id: int, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.stream_id = stream_id
        self.code = code
        self.reason = reason
