"""``clarion demo``: the whole gateway on this machine, against a look-alike of Apple."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from engine.cli.errors import CommandError


def demo(
    *,
    pushes: int = 20_000,
    keep: bool = False,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Push notifications of three tenants through the whole gateway, and show what arrived.

    Starts a redis-server, a look-alike of Apple and the gateway in a temporary directory. Exit code 0 only if
    nothing was lost and nothing was sent twice.

    For example:

        clarion demo
        clarion demo --keep

    Parameters
    ----------
    pushes
        How many notifications.
    keep
        Leave everything running at the end, and print a curl line that works.
    json
        Write the result to this file too.
    """
    # imported here: the other commands need none of it, and it takes a tenth of a second
    from loadtest.demo.show import run_demo

    if not 1 <= pushes <= 1_000_000:
        raise CommandError(f"--pushes is {pushes}; write a number from 1 to 1000000")
    return run_demo(pushes, keep, json)
