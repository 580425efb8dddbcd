"""`python -m loadtest.simulator`: the simulator as a process, for benchmarks and for a look by hand."""

import sys
from pathlib import Path

import cyclopts

from loadtest.simulator.run import RunOptions, run

app = cyclopts.App(name="python -m loadtest.simulator", help="A look-alike of Apple's push service.")


@app.default
def simulate(
    *,
    host: str = "127.0.0.1",
    port: int = 2197,
    control_port: int = 2198,
    data_dir: Path = Path(".clarion/simulator"),
    rtt_ms: float = 0.0,
    seed: int = 0,
) -> int:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    host
        Address to listen on for pushes.
    port
        Port to listen on for pushes; 0 for any free one.
    control_port
        Loopback port of the control door; 0 for any free one.
    data_dir
        Directory of the CA and the server certificate; made if absent.
    rtt_ms
        Round-trip time to add, in milliseconds.
    seed
        Seed of the chance in scripts.
    """
    try:
        options = RunOptions(
            host=host, port=port, control_port=control_port, data_dir=data_dir, rtt_ms=rtt_ms, seed=seed
        )
    except ValueError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    return run(options)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
