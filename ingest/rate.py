"""What one ingest process may take in of one tenant's pushes by the tenant's rate. Pure: time is an argument.

Theory of operation. The rate is a bucket in Redis that all processes share (``shards/rates.py``). A process is granted
more than it needs, and spends that at home, so a push costs no round trip. What is left is topped up before it is
spent, and given back when it lies unused. A request that finds no room after it was taken in gives back what it took,
and what is more than a chunk then goes to the bucket at once. So the rate holds for all processes together, and at
most a chunk for each of them stands aside.

Once the bucket was found empty, it is not asked again at every push: not while it must be empty, and for a pause after
that only by requests that are larger than what a pause brings, which can only be had on credit. Otherwise small
requests, which come more often, would always be first. Smaller ones are served meanwhile from what is here, and as in
the bucket the last of them may overdraw it.
"""

import math
from enum import Enum, auto
from typing import Final

from ingest.problems import RATE_POLICY
from shards.grant import Ask, Grant
from shards.tenant import RATE_LEAST, Limits

CHUNK_S: Final = 0.25
PAUSE_S: Final = 0.05
IDLE_S: Final = 1.0


class Take(Enum):
    """What becomes of a request: it is taken in, or the bucket must be asked, or it is over the rate."""

    TAKEN = auto()
    ASK = auto()
    OVER = auto()


class Allowance:
    """The pushes of a tenant with a rate that this process may take in. ``now_s`` is monotonic time."""

    __slots__ = (
        "_ahead_after_s",
        "_asked",
        "_chunk",
        "_empty_until_s",
        "_level",
        "_level_at_s",
        "_paused_until_s",
        "_policy",
        "_used_s",
        "burst",
        "left",
        "limits",
        "per_s",
        "tenant",
    )

    def __init__(self, tenant: str, limits: Limits, now_s: float) -> None:
        self.tenant = tenant
        self.left = 0
        self._asked = False
        self._used_s = self._level_at_s = now_s
        # what Redis holds is not known yet; of a tenant that was not seen lately, that it is full is true
        self._level = math.inf
        self.regulate(limits, now_s)

    def __repr__(self) -> str:
        return f"<Allowance of {self.tenant}: {self.left} left of a chunk of {self._chunk}>"

    def regulate(self, limits: Limits, now_s: float) -> None:
        """From now on these limits hold; they have a rate."""
        self.limits = limits
        # a lower one, stored by whom nobody stopped, would have no finite end in the header
        self.per_s = max(limits.admit_per_s, RATE_LEAST)
        self.burst = limits.admit_burst or math.ceil(self.per_s)
        self._policy = f'RateLimit-Policy: "{RATE_POLICY}";q={self.burst};w=1\r\n'
        # of a small bucket no process takes more than half
        self._chunk = max(1, min(math.ceil(self.per_s * CHUNK_S), self.burst // 2))
        # what was granted by a higher rate holds no longer
        self.left = min(self.left, self._chunk)
        self._empty_until_s = self._paused_until_s = self._ahead_after_s = now_s

    def take(self, pushes: int, now_s: float) -> Take:
        """Take in a request of so many pushes, whole or not at all."""
        self._used_s = now_s
        if pushes <= self.left:
            self.left -= pushes
            return Take.TAKEN
        if now_s < self._paused_until_s and self._is_small(pushes):
            return Take.TAKEN if self.draw(pushes) else Take.OVER
        return Take.OVER if now_s < self._empty_until_s else Take.ASK

    def draw(self, pushes: int) -> bool:
        """Take in a request from what is here, now that there is no more; a small one may overdraw it."""
        if pushes > self.left and (self.left < 1 or not self._is_small(pushes)):
            return False
        self.left -= pushes
        return True

    def runs_low(self, now_s: float) -> bool:
        """Whether it is time to ask ahead of need."""
        return self.left * 2 < self._chunk and not self._asked and now_s >= self._ahead_after_s

    def ask(self, need: int = 0, more: int = 0) -> Ask:
        """What to ask of the bucket: all of ``need``, and if it has them ``more`` pushes and a chunk to be ahead."""
        self._asked = True
        if need and self.left < 0:
            # what was overdrawn is paid first, so all of the need is there afterwards
            need -= self.left
            more += self.left
        want = max(0, need + more + self._chunk - self.left)
        return Ask(self.tenant, self.per_s, self.burst, need, want)

    def credit(self, ask: Ask, grant: Grant | None, now_s: float) -> None:
        """The bucket's answer; None if there was none."""
        self._asked = False
        self._ahead_after_s = now_s + PAUSE_S
        if grant is None:
            return
        self.left += grant.granted
        self._level, self._level_at_s = grant.remaining, now_s
        # others may give back what they did not use, so even a long debt is looked at again
        self._empty_until_s = now_s + min(IDLE_S, grant.wait_ms / 1000)
        if grant.granted < ask.want:
            # not so long that a small bucket would run over meanwhile
            self._ahead_after_s = self._paused_until_s = now_s + min(PAUSE_S, self.burst / self.per_s / 4)
        else:
            self._ahead_after_s = now_s

    def restore(self, pushes: int) -> None:
        """What was taken in is not stored: it is here again."""
        self.left += pushes

    def unreturned(self, ask: Ask, *, kept: bool) -> None:
        """The bucket has not got what was to go back to it; ``kept``: it is here again, and not lost."""
        self._level -= ask.back
        if kept:
            self.left += ask.back

    def has_spare(self) -> bool:
        """Whether there is more here than a process should keep from the others."""
        return self.left > self._chunk

    def return_spare(self) -> Ask:
        """Returns to the bucket what is more than a chunk."""
        return self._return_all_but(self._chunk)

    def idle_s(self, now_s: float) -> float:
        """How long nobody has asked for anything."""
        return now_s - self._used_s

    def give_back(self) -> Ask:
        """Returns what is left to the bucket."""
        return self._return_all_but(0)

    def _return_all_but(self, kept: int) -> Ask:
        back, self.left = self.left - kept, kept
        self._level += back
        if back > 0:
            # whoever comes before the bucket has answered is not over the rate, since it gets this first
            self._empty_until_s = self._paused_until_s = -math.inf
        return Ask(self.tenant, self.per_s, self.burst, back=back)

    def full_in_s(self, now_s: float) -> int:
        """Whole seconds until all of the burst is there again."""
        return math.ceil((self.burst - self._there(now_s)) / self.per_s)

    def headers(self, now_s: float) -> str:
        """The state of the rate as header lines (draft-ietf-httpapi-ratelimit-headers).

        To the knowledge of this process: what others have taken since it last asked, it does not see.
        """
        there = self._there(now_s)
        remaining = math.floor(there) if there > 0 else 0
        full_in_s = math.ceil((self.burst - there) / self.per_s)
        return f'{self._policy}RateLimit: "{RATE_POLICY}";r={remaining};t={full_in_s}\r\n'

    def _is_small(self, pushes: int) -> bool:
        return pushes <= self.per_s * PAUSE_S

    def _there(self, now_s: float) -> float:
        """Pushes that are in the bucket and here; below 0 for a debt."""
        return min(self.burst, self._level + (now_s - self._level_at_s) * self.per_s + self.left)
