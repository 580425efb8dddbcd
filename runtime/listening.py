"""A socket that listens for HTTP, bound before the fork, so that an address that can't be had is told at once."""

import errno
import socket
from dataclasses import dataclass
from typing import Protocol

from runtime.options import OptionError


class ListenError(Exception):
    """The address can't be listened on; the text is one line that says what to do."""


class Bound(Protocol):
    """Where to listen; port 0 takes any free one. ``backlog``: connections that the kernel keeps for us."""

    @property
    def bind_host(self) -> str: ...
    @property
    def bind_port(self) -> int: ...
    @property
    def backlog(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A ``Bound`` out of one word."""

    bind_host: str
    bind_port: int
    backlog: int = 16

    @classmethod
    def of(cls, text: str, option: str, example: str) -> "Bind":
        """For HOST:PORT, given with this option. Raises OptionError."""
        host, _, port = text.rpartition(":")
        host = host.strip("[]")
        if not host or not port.isdecimal() or not 0 <= int(port) <= 65_535:
            raise OptionError(
                option, f"is no HOST:PORT; write it as {example}, or as an empty word to listen nowhere"
            )
        return cls(bind_host=host, bind_port=int(port))


def listen(options: Bound, option: str = "--bind") -> socket.socket:
    """A listening socket that does not block. ``option`` names what the address was given by. Raises ListenError."""
    host, port = options.bind_host, options.bind_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family, backlog=options.backlog)
    except socket.gaierror as error:
        raise ListenError(
            f"{host!r} is no address of this machine ({error.strerror}); write another {option}"
        ) from error
    except OSError as error:
        raise ListenError(_advice(error, host, port, option)) from error
    listener.setblocking(False)
    return listener


def _advice(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what listens there, or write another port in {option}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not listen on port {port} of {host}; write a port from 1024 in {option}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; write one that is in {option}, or 0.0.0.0 for all"
    return f"can't listen on {host} port {port}: {error.strerror}; write another {option}"
