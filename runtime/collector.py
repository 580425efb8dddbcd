"""What the garbage collector does in a process that serves."""

import gc

# Allocations before a look at the young, and looks before one at the older; CPython's own are 700, 10 and 10. Requests,
# connections and pushes make no cycles worth an early look, and with some hundred of them under way it cost an ingest
# process a fifth of its CPU (tuning/experiments/0009).
THRESHOLDS = (20_000, 20, 20)


def look_seldom() -> None:
    """Begin with this, before the process has anything to collect."""
    gc.set_threshold(*THRESHOLDS)


def spare_what_exists() -> None:
    """What exists now lives as long as the process: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
