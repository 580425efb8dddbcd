"""A worker with a fault of its own: `python faulty_worker.py JSON`.

One option comes before those of `worker_process.py`: `fault`, a file. When it is there, a callback of the loop raises.
"""

import asyncio
import json
import signal
import sys
from functools import partial
from pathlib import Path

import worker_process

from engine.worker.worker import run_worker


def pulse(fault: Path) -> None:
    if fault.exists():
        # so that the worker that comes next is well
        fault.unlink()
        asyncio.get_running_loop().call_soon(_raise)


def _raise() -> None:
    raise ValueError("a fault of ours")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings = json.loads(sys.argv[1])
    fault = Path(settings["options"].pop("fault"))
    worker_process.run_worker = partial(run_worker, pulse=partial(pulse, fault))
    sys.exit(worker_process.main(settings))
