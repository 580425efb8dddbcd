"""``clarion simulate``: a look-alike of Apple's push service on this machine."""

from pathlib import Path

from engine.cli.errors import CommandError


def simulate(
    *,
    host: str = "127.0.0.1",
    port: int = 2197,
    control_port: int = 2198,
    data_dir: Path = Path(".clarion/simulator"),
    rtt_ms: float = 0.0,
    seed: int = 0,
    scenario: str = "",
) -> int:
    """Run a server that judges pushes as Apple does, until SIGTERM.

    It prints where it listens, the authority to trust, and the address of its control door: POST /teams tells it a
    team's public key, POST /script and POST /scenarios make it fail on purpose, GET /ledger says what it has seen.

    For example:

        clarion simulate --rtt-ms 50
        clarion simulate --scenario S14

    Parameters
    ----------
    host
        Address to listen on for pushes.
    port
        Port to listen on for pushes; 0 for any free one.
    control_port
        Loopback port of the control door; 0 for any free one.
    data_dir
        Directory of its certificate authority; made if absent.
    rtt_ms
        Round-trip time to add, in milliseconds.
    seed
        Seed of the chance in scripts.
    scenario
        A failure seen in the field to play from the start: S1 to S37. The control door lists them: GET /scenarios.
    """
    # imported here: a gateway in production needs none of it
    from loadtest.simulator.run import RunOptions, run

    try:
        options = RunOptions(
            host=host,
            port=port,
            control_port=control_port,
            data_dir=data_dir,
            rtt_ms=rtt_ms,
            seed=seed,
            scenario=scenario,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    return run(options)
