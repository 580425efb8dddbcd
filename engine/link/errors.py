"""Why a link could not be opened. Errors of sockets, TLS and DNS stop at ``dial``."""


class DialError(Exception):
    """No link; the text says why in one line.

    ``phase`` is resolve, connect, tls or settings; ``address`` is the one that was tried, "" if none was found.
    """

    def __init__(self, phase: str, message: str, address: str = "") -> None:
        super().__init__(message)
        self.phase = phase
        self.address = address
