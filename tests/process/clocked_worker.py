"""A worker on a host whose clock is wrong: `python clocked_worker.py JSON`.

Two options come before those of `worker_process.py`: `clock`, a file that holds by how many seconds all clocks are put
forward, and `skew_s`, by how many this host's differs from the right time.
"""

import json
import mmap
import signal
import struct
import sys
import time
from pathlib import Path

SECONDS = struct.Struct("<d")


class SharedClock:
    """Wall time, put forward for every process that reads the same file; `skew_s` is this reader's own."""

    def __init__(self, path: Path, skew_s: float = 0.0) -> None:
        if not path.exists():
            path.write_bytes(SECONDS.pack(0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SECONDS.size)
        self._skew_s = skew_s
        self._right = time.time

    def __call__(self) -> float:
        return self._right() + self._skew_s + float(SECONDS.unpack_from(self._map)[0])

    def forward(self, seconds: float) -> None:
        SECONDS.pack_into(self._map, 0, SECONDS.unpack_from(self._map)[0] + seconds)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings = json.loads(sys.argv[1])
    chosen = settings["options"]
    # before anything of ours is imported, since much of it takes the clock when it is defined
    time.time = SharedClock(Path(chosen.pop("clock")), chosen.pop("skew_s"))
    from worker_process import main

    sys.exit(main(settings))
