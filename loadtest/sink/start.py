"""One door to both sinks: nginx where there is one, else the one in Python.

    with start_sink(directory) as sink:
        ...  # push to sink.host, sink.port, trusting sink.ca_file
        assert sink.pushes() == sent

A figure measured against one kind says nothing about the other, so reports must name `sink.kind`.
"""

from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from loadtest.sink.nginx import NginxSink, find_nginx
from loadtest.sink.python import PythonSink


class Sink(Protocol):
    """A running server that answers 200 to every push. Use it as a context manager, or call `stop`."""

    @property
    def kind(self) -> Literal["nginx", "python"]:
        """Which of the two it is."""

    @property
    def host(self) -> str:
        """The address that it listens on."""

    @property
    def port(self) -> int:
        """The port that it listens on."""

    @property
    def ca_file(self) -> Path:
        """The PEM file that a client must trust."""

    @property
    def pids(self) -> list[int]:
        """The processes whose CPU time is the sink's."""

    def pushes(self) -> int:
        """How many pushes it has answered, also after `stop`."""

    def connections(self) -> int:
        """How many connections it has accepted so far."""

    def stop(self) -> None:
        """End its processes. Idempotent."""

    def __enter__(self) -> "Sink":
        """The sink itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops it."""


def start_sink(
    directory: Path,
    *,
    kind: Literal["nginx", "python"] | None = None,
    port: int = 0,
    streams: int = 1000,
    workers: int = 1,
) -> Sink:
    """Start a sink that keeps its files in `directory`, and return it when it accepts connections.

    `kind` None prefers nginx. `workers` is for nginx; the Python sink is one process. OSError if the sink
    cannot be started, FileNotFoundError if nginx was asked for and there is none.
    """
    if kind == "nginx" or (kind is None and find_nginx() is not None):
        return NginxSink(directory, port=port, streams=streams, workers=workers)
    return PythonSink(directory, port=port, streams=streams)
