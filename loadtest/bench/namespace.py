"""A network namespace for one measurement: network settings are changed in it, and never on the host.

A measurement that needs one is a program of its own, which unshare(1) starts: its module calls ``serve`` with what it
can measure, and ``measured_inside`` runs it. A namespace ends with its last process. Root makes one directly; others
need user namespaces, which some systems refuse.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from loadtest.bench.delay_line import DelayLine
from loadtest.programs import environment, program

_WITHIN_S: Final = 90.0


class Refused(Exception):
    """This host, or what this process may do on it, allows no such measurement; the text says why."""


@cache
def refusal() -> str:
    """Why no namespace with a delay line can be had here; "" when one can."""
    try:
        done = subprocess.run(
            _command("loadtest.bench.namespace", "try", {}, {}),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
        )
    except OSError as error:
        return f"unshare(1) can't be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return "a network namespace was not made in time"
    if done.returncode == 0:
        return ""
    # what failed first says why; what follows is how far it carried
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return f"no network namespace with a delay line: {said[0] if said else 'refused'}"


def measured_inside(module: str, measure: str, sysctls: Mapping[str, str], **given: Any) -> Sequence[float]:
    """Run that measure of that module in a new namespace with these settings. Raises Refused, or RuntimeError when the
    program fails."""
    why = refusal()
    if why:
        raise Refused(why)
    process = subprocess.Popen(
        _command(module, measure, sysctls, given),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        # one group with all that it starts, so that none is left when it takes too long
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=_WITHIN_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(f"{measure} of {module} ended with code {process.returncode}")
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    if answer["refused"]:
        raise Refused(answer["refused"])
    found: list[float] = answer["found"]
    return found


def serve(measures: Mapping[str, Callable[..., Sequence[float]]]) -> None:
    """The main part of such a program: sets what it is told, measures, and prints the numbers."""
    measure, sysctls, given = json.loads(sys.argv[1])
    found: Sequence[float] = ()
    refused = ""
    try:
        _furnish(sysctls)
        found = measures[measure](**given)
    except Refused as error:
        refused = str(error)
    print(json.dumps({"found": found, "refused": refused}), flush=True)


def _furnish(sysctls: Mapping[str, str]) -> None:
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    except OSError as error:
        sys.exit(f"ip(8) can't be run: {error.strerror}")
    for name, value in sysctls.items():
        if not name.startswith("net."):
            # the others are the whole host's, wherever they are written
            raise ValueError(f"{name} is no setting of a network namespace")
        try:
            Path("/proc/sys", *name.split(".")).write_text(value)
        except OSError as error:
            raise Refused(f"{name} can't be set in a network namespace: {error.strerror}") from error


def _command(module: str, measure: str, sysctls: Mapping[str, str], given: Mapping[str, Any]) -> list[str]:
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    task = json.dumps([measure, sysctls, given])
    return ["unshare", "--net", *rights, *program(module, task)]


def _try() -> Sequence[float]:
    with DelayLine(0.0):
        return []


if __name__ == "__main__":
    serve({"try": _try})
