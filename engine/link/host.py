"""What all pools of one endpoint share in a worker: how fast it is dialled, when it is left alone, and which of its
addresses is next. ``policy.links`` says why that is the host's and not a pool's.

    well ──a dial fails──▶ left alone ──the delay is over──▶ one pool tries ──SETTINGS──▶ well
                               ▲─────────────────── it fails ──────────┘
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from engine.apns.endpoint import Endpoint
from engine.apns.identity import Identity
from engine.link.contexts import CERTIFICATE, Contexts
from engine.link.dial import LinkT, dial
from engine.link.errors import DialError
from engine.policy.backoff import backoff_s
from engine.policy.links import DialPace, LinkOptions, paced, pick_address

LOG: Final = logging.getLogger("clarion.host")


class Host:
    """Dials ``at``, for whichever pool may. ``opened`` counts links, ``spared`` those that were closed as needless."""

    def __init__(
        self,
        at: Endpoint,
        contexts: Contexts,
        options: LinkOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        self.at = at
        self._contexts = contexts
        self._options = options
        self._clock = clock
        self._draw = draw
        self._pace = DialPace(options.dials_burst, clock())
        self._links: Counter[str] = Counter()
        self._shunned: dict[str, float] = {}
        self._failures = 0
        self._dial_after_s = float("-inf")
        self._dialling = 0
        self.opened = 0
        self.spared = 0

    def __repr__(self) -> str:
        state = f"{self._failures} failures" if self._failures else "well"
        return f"<Host {self.at.host}:{self.at.port} {state}, {self._dialling} dialling, {dict(self._links)}>"

    @property
    def down(self) -> bool:
        """Whether the last dial failed."""
        return self._failures > 0

    def wait_s(self) -> float:
        """How long a pool should keep its jobs elsewhere while the host is down."""
        return max(self._dial_after_s - self._clock(), self._options.redial_first_s)

    def take_turn(self) -> bool:
        """Whether a pool may dial now. True takes a turn: it must dial, and give the turn back when that is over."""
        now_s = self._clock()
        if now_s < self._dial_after_s or (self._failures and self._dialling):
            return False
        pace = paced(self._pace, now_s, self._options)
        if pace is None:
            return False
        self._pace = pace
        self._dialling += 1
        return True

    def give_turn_back(self) -> None:
        """The dial is over, or was never begun."""
        self._dialling -= 1

    async def dial(self, make_link: Callable[[], LinkT], identity: Identity) -> LinkT:
        """A usable link that shows this identity, to be told of with ``left`` when it is closed. Raises DialError.

        A certificate is shown before the first push, so an APNs that is there and ends the connection may mean the
        certificate: then the error is ``own``, and the host is not left alone for it.
        """
        try:
            context = await self._contexts.of(identity)
            link = await dial(self.at, context, make_link, self._pick, self._options.dial_s)
        except DialError as error:
            error.own = error.phase == CERTIFICATE or (error.ended and bool(identity.certificate))
            if not error.own:
                self._failed(error)
            raise
        link.give_up_after(self._options.blocked_s)
        self._failures = 0
        self.opened += 1
        self._shunned.pop(link.address, None)
        self._links[link.address] += 1
        return link

    def left(self, address: str) -> None:
        """A link to this address is closed."""
        self._links[address] -= 1
        if self._links[address] <= 0:
            # addresses come and go with what DNS says
            del self._links[address]

    def _pick(self, addresses: Sequence[str]) -> int:
        now_s = self._clock()
        self._shunned = {address: until_s for address, until_s in self._shunned.items() if until_s > now_s}
        return pick_address(addresses, self._links, self._shunned, self._draw)

    def _failed(self, error: DialError) -> None:
        options, now_s = self._options, self._clock()
        chance = 0.5 + self._draw(1000) / 2000
        delay_s = backoff_s(self._failures, options.redial_first_s, options.host_redial_most_s, chance)
        self._failures += 1
        self._dial_after_s = now_s + delay_s
        if error.address:
            self._shunned[error.address] = now_s + options.shun_s
        LOG.warning("%s; next try in %.1f s", error, delay_s)
