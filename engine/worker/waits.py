"""How long pushes waited, counted as they pass. Of a batch, a few stand for all."""

from collections.abc import Sequence
from typing import Final

from engine.apns.headers import Held
from engine.worker.measures import ACCEPTED_S, QUEUE_S
from shards.measures import Sheet

# of a batch of answers, at most about so many are looked at: what comes together has mostly waited alike, and with many
# links a batch is small, so that to look at each push costs as much as its answer
LOOKED_AT: Final = 2


class Waits:
    """How long pushes took; ``sheet`` may be one that nobody reads. Times are Unix seconds."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def claimed(self, admitted_ms: int, jobs: int, now_s: float) -> None:
        """So many jobs of a flow were claimed together, the first of them admitted then."""
        self._sheet.observe(QUEUE_S, max(0.0, now_s - admitted_ms / 1000), jobs)

    def accepted(self, held: Sequence[Held], now_s: float) -> None:
        """APNs accepted these."""
        looked_at = held[:: 1 + len(held) // LOOKED_AT]
        each = len(held) / len(looked_at)
        for job, _ in looked_at:
            self._sheet.observe(ACCEPTED_S, max(0.0, now_s - job.admitted_ms / 1000), each)
