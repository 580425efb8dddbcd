"""How long pushes waited, counted as they pass. Of a batch, one stands for all."""

from collections.abc import Sequence

from engine.apns.headers import Held
from engine.worker.measures import ACCEPTED_S, QUEUE_S
from runtime.measures import Sheet


class Waits:
    """How long pushes took; ``sheet`` may be one that nobody reads. Times are Unix seconds."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def claimed(self, admitted_ms: int, jobs: int, now_s: float) -> None:
        """So many jobs of a flow were claimed together, the first of them admitted then."""
        self._sheet.observe(QUEUE_S, max(0.0, now_s - admitted_ms / 1000), jobs)

    def accepted(self, held: Sequence[Held], now_s: float) -> None:
        """APNs accepted these, which came together, and so have mostly waited alike."""
        job, _ = held[len(held) // 2]
        self._sheet.observe(ACCEPTED_S, max(0.0, now_s - job.admitted_ms / 1000), len(held))
