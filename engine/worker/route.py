"""Where the pushes of one flow go: by topic to a credential, and so to a pool."""

from collections.abc import Callable, Collection, Iterator
from typing import Final

from engine.apns.headers import Held
from engine.link.pool import Pool
from shards.credential import Credential, choose
from shards.flow import environment_of
from shards.tenant import Tenant

NEVER_MS: Final = 2**63
# after which a credential that could not be used is tried again: the master key may have been put right
AGAIN_MS: Final = 30_000

# for a credential of a tenant in an environment; the pools are those that must not be closed to make room for it
OpenPool = Callable[[Tenant, Credential, str, Collection[Pool]], Pool | None]


class Route:
    """The pools of a tenant in one environment, each found when its first push comes.

    It holds until ``until_ms`` (Unix ms): then a credential's time is over, and another may be right, or one that could
    not be used is worth another look. ``pools`` are those found so far. ``usable``: whether there is a credential for
    any topic at all.
    """

    def __init__(self, flow: str, tenant: Tenant, open_pool: OpenPool, now_ms: int) -> None:
        self.flow = flow
        self.tenant = tenant
        self.environment = environment = environment_of(flow)
        serving = [each for each in tenant.credentials if each.serves(environment, now_ms)]
        self.until_ms = min((each.not_after_ms for each in serving if each.not_after_ms), default=NEVER_MS)
        self._open_pool = open_pool
        self._now_ms = now_ms
        self._by_topic: dict[str, Pool | None] = {}
        # most tenants have one key for all topics, and then no push need be looked at
        self._whole: Pool | None = None
        if serving and not any(each.topics for each in serving):
            self._whole = self._find("")
        self.usable = self._whole is not None or any(each.topics for each in serving)
        if not self.usable:
            self._look_again()

    def __repr__(self) -> str:
        return f"<Route of {self.flow} to {len(self.pools)} pools>"

    @property
    def pools(self) -> set[Pool]:
        return {pool for pool in (self._whole, *self._by_topic.values()) if pool is not None}

    @property
    def topics(self) -> list[str]:
        """Topics that were asked for."""
        return list(self._by_topic)

    def sort(self, held: list[Held]) -> Iterator[tuple[Pool | None, list[Held]]]:
        """The pushes by pool; None for those that no credential is good for."""
        if self._whole is not None:
            yield self._whole, held
            return
        by_pool: dict[Pool | None, list[Held]] = {}
        for entry in held:
            by_pool.setdefault(self.pool(entry[0].topic), []).append(entry)
        yield from by_pool.items()

    def pool(self, topic: str) -> Pool | None:
        """The pool for a topic, opened if it was not yet."""
        if self._whole is not None:
            return self._whole
        if topic not in self._by_topic:
            self._by_topic[topic] = self._find(topic)
        return self._by_topic[topic]

    def _find(self, topic: str) -> Pool | None:
        credential = choose(self.tenant.credentials, self.environment, topic, self._now_ms)
        if credential is None:
            return None
        pool = self._open_pool(self.tenant, credential, self.environment, self.pools)
        if pool is None:
            self._look_again()
        else:
            pool.flows.add(self.flow)
        return pool

    def _look_again(self) -> None:
        self.until_ms = min(self.until_ms, self._now_ms + AGAIN_MS)

    def leave(self) -> None:
        """It is used no more."""
        for pool in self.pools:
            pool.flows.discard(self.flow)
