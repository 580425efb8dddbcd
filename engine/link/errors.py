"""Why a link could not be opened. Errors of sockets, TLS and DNS stop at ``dial``."""


class DialError(Exception):
    """No link; the text says why in one line.

    ``phase`` is certificate, resolve, connect, tls or settings; ``address`` is the one that was tried, "" if none was
    found. ``ended``: whoever was there ended the connection, with ``reason`` as Apple's word for it, "" for none.
    ``own``: the fault may lie with what only this link showed, so it says nothing about the host.
    """

    def __init__(
        self, phase: str, message: str, address: str = "", *, ended: bool = False, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.address = address
        self.ended = ended
        self.reason = reason
        self.own = False
