"""The pools of one worker: opened on demand, closed when idle, within a bound.

A pool that is closed is *leaving* until its last answer has come: it takes no more jobs, and gives back what it had not
sent. Opening one beyond the bound closes the one that was used least recently, but none that the same route leads to:
its pushes are being sorted by pool just then. So a tenant with more credentials than the bound has a pool for each. How
fast links are opened to a host is bounded elsewhere (``engine.link.host``).
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from engine.apns.identity import Identity
from engine.link.host import Host
from engine.link.pool import Pool, PoolKey
from engine.policy.links import LinkOptions
from engine.worker.endings import Endings
from engine.worker.fates import Fates

LOG: Final = logging.getLogger("clarion.pools")


class Pools:
    """Pools by key. Two tenants of one team and key share one, since APNs sees them as one.

    ``closed`` is called with each pool that is used no more.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        fates: Fates,
        endings: Endings,
        options: LinkOptions,
        may_send: Callable[[], bool],
        closed: Callable[[Pool], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosts = hosts
        self._fates = fates
        self._endings = endings
        self._options = options
        self._may_send = may_send
        self._closed = closed
        self._clock = clock
        self._open: dict[PoolKey, Pool] = {}
        self._leaving: set[Pool] = set()

    def __repr__(self) -> str:
        return f"<Pools {len(self._open)} open, {len(self._leaving)} leaving>"

    def __iter__(self) -> Iterator[Pool]:
        """Those that may be used."""
        return iter(tuple(self._open.values()))

    def all(self) -> list[Pool]:
        """Those that may be used, and those that are leaving."""
        return [*self._open.values(), *self._leaving]

    def opened(self) -> int:
        """How many links there have been."""
        return sum(host.opened for host in self._hosts.values())

    def spared(self) -> int:
        """How many of them were closed because the others were enough."""
        return sum(host.spared for host in self._hosts.values())

    def get(self, environment: str, identity: Identity, spared: Collection[Pool] = ()) -> Pool:
        """The pool that speaks for this identity, opened if there is none, for which none of the spared is closed."""
        key = PoolKey(environment, identity.team_id, identity.key_id, identity.fingerprint)
        pool = self._open.get(key)
        if pool is None:
            self._make_room(spared)
            pool = self._open[key] = Pool(
                key,
                self._hosts[environment],
                identity,
                self._fates,
                self._options,
                clock=self._clock,
                may_send=self._may_send,
            )
        return pool

    def _make_room(self, spared: Collection[Pool]) -> None:
        """Close as many as it takes for one more, as far as there are others than the spared."""
        excess = len(self._open) + 1 - self._options.pools_most
        if excess > 0:
            others = [pool for pool in self if pool not in spared]
            others.sort(key=lambda each: (bool(each.in_hand()), each.used_s))
            for pool in others[:excess]:
                self.close(pool)

    def close(self, pool: Pool) -> None:
        """Use it no more; what it has not sent is ready again for others."""
        if self._open.pop(pool.key, None) is not None:
            LOG.info("closed: %r", pool)
            self._leaving.add(pool)
            self._closed(pool)
            pool.retire()
            self.give_back(pool)

    def tend(self) -> None:
        """To be called now and then; closes pools that nobody has used for long."""
        for pool in self.all():
            pool.tend()
        for pool in tuple(self._leaving):
            # what a link is told was never processed comes back to its pool
            self.give_back(pool)
            if not pool.links:
                self._leaving.discard(pool)
        latest_s = self._clock() - self._options.idle_s
        for pool in self:
            if pool.used_s < latest_s and not pool.in_hand():
                self.close(pool)

    def give_back(self, pool: Pool) -> None:
        """What the pool has not sent is ready again, for whoever claims next."""
        self._endings.put_back(pool.backlog)
        pool.backlog.clear()
