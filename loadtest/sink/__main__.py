"""`python -m loadtest.sink`: the Python sink as a process.

Prints {"port": ..., "ca_file": ...} when it listens and {"pushes": ...} when SIGTERM or SIGINT has ended it.
"""

import sys
import tempfile
from pathlib import Path

import cyclopts
import uvloop

from loadtest.sink.protocol import Windows
from loadtest.sink.python import STREAMS, Count, serve

app = cyclopts.App(name="python -m loadtest.sink", help="An HTTP/2 server that says yes to every request.")


@app.default
def sink(
    *,
    tls_dir: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    streams: int = STREAMS,
    windows: Windows = Windows.WIDE,
    count_file: Path | None = None,
    connections_file: Path | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    tls_dir
        Directory of the CA and the server certificate; made if absent.
    host
        Address to listen on.
    port
        Port to listen on; 0 for any free one.
    streams
        MAX_CONCURRENT_STREAMS to announce.
    windows
        wide: as large as may be, and returned at once; apple: 65,535 bytes, returned by halves.
    count_file
        File that holds the number of pushes in 8 bytes, little-endian; one that nobody sees if not given.
    connections_file
        The same for the number of connections.
    """
    with tempfile.TemporaryDirectory(prefix="clarion-sink-") as own:
        count = Count(Path(own) / "pushes" if count_file is None else count_file)
        connections = Count(Path(own) / "connections" if connections_file is None else connections_file)
        return uvloop.run(
            serve(
                host=host,
                port=port,
                tls_dir=tls_dir,
                streams=streams,
                windows=windows,
                count=count,
                connections=connections,
            )
        )


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
