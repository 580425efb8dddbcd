"""Tells the store, and the log once, what holds up credentials and flows; never in the way of pushes.

Refusals are counted here and written together a moment later, so a thousand of them are one call. What can't be
written is written with the next: a condition is for people to see, and nothing is decided by it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from engine.apns.headers import Held
from engine.link.pool import PoolKey
from shards.conditions import ConditionName, Conditions
from shards.errors import StoreError

LOG: Final = logging.getLogger("clarion.conditions")

GATHER_S: Final = 0.5
# between looks at what is noted of credentials that work
LOOK_S: Final = 60.0

_MET: Final = "%s can't be used: APNs says %s"
_OVER: Final = "%s can be used again"
_FLOW_MET: Final = "most device tokens of %s are refused (%s); they may come from the other environment"
_FLOW_OVER: Final = "device tokens of %s are no longer doubted"


class ConditionLog:
    """Tasks: 1 count what was met and what is over; 2 write it to the store (None: only to the log)."""

    def __init__(
        self,
        store: Conditions | None,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._wall = wall
        self._clock = clock
        # what is noted of credentials, by their ids: whoever noted it may be gone, and a push that is accepted ends it
        self._noted: dict[tuple[str, str, str], set[ConditionName]] = {}
        self._looks_after_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        # while it is looked at: credentials that work, and their topics
        self._meanwhile: dict[PoolKey, set[str]] | None = None
        self._met: dict[ConditionName, tuple[str, int]] = {}
        self._over: set[ConditionName] = set()
        self._writing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ConditionLog {len(self._met)} met, {len(self._over)} over>"

    def note(self, key: PoolKey, topic: str, reason: str) -> None:
        """A push was refused for it."""
        self._meet(_name(key, topic), reason, 1)

    def clear(self, key: PoolKey, topic: str) -> None:
        """It is over."""
        self._end(_name(key, topic))

    def note_flow(self, flow: str, reason: str, times: int) -> None:
        """So many more pushes of the flow were refused for it."""
        self._meet(ConditionName.of_flow(flow), reason, times)

    def clear_flow(self, flow: str) -> None:
        """It is over."""
        self._end(ConditionName.of_flow(flow))

    def works(self, key: PoolKey, accepted: Iterable[Held]) -> None:
        """These pushes were accepted. Called for every batch: it costs next to nothing while nothing is noted."""
        if self._clock() >= self._looks_after_s and self._store is not None:
            self._looks_after_s = self._clock() + LOOK_S
            self._meanwhile = {}
            self._looking = asyncio.get_running_loop().create_task(self._look(self._store))
        if self._meanwhile is not None:
            self._meanwhile.setdefault(key, {""}).update(job.topic for job, _ in accepted)
        elif (key.environment, key.team_id, key.key_id) in self._noted:
            self._end_noted(key, {"", *(job.topic for job, _ in accepted)})

    async def _look(self, store: Conditions) -> None:
        names: list[ConditionName] = []
        try:
            names = [each.name for each in await store.all() if not each.name.tenant]
        except StoreError as error:
            LOG.warning("conditions can't be read now: %s", error)
        self._noted.clear()
        for name in names:
            self._noted.setdefault((name.environment, name.team_id, name.key_id), set()).add(name)
        meanwhile, self._meanwhile = self._meanwhile, None
        for key, topics in (meanwhile or {}).items():
            self._end_noted(key, topics)

    def _end_noted(self, key: PoolKey, topics: Collection[str]) -> None:
        """What is noted of these topics of the credential, or of all of it, is over."""
        noted = self._noted.get((key.environment, key.team_id, key.key_id), set())
        for name in [each for each in noted if each.topic in topics]:
            noted.discard(name)
            if name.fingerprint in ("", key.fingerprint):
                self._end(name)

    def _meet(self, name: ConditionName, reason: str, times: int) -> None:
        # what is over and met again at once is still written as both: it is another condition, with a time of its own
        self._met[name] = (reason, self._met.get(name, ("", 0))[1] + times)
        self._write_soon()

    def _end(self, name: ConditionName) -> None:
        self._met.pop(name, None)
        self._over.add(name)
        self._write_soon()

    def _write_soon(self) -> None:
        if self._store is not None and self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write(self._store))

    async def _write(self, store: Conditions) -> None:
        try:
            while self._met or self._over:
                await asyncio.sleep(GATHER_S)
                try:
                    await self._write_all(store)
                except StoreError as error:
                    LOG.warning("conditions can't be written now: %s", error)
        finally:
            self._writing = None

    async def _write_all(self, store: Conditions) -> None:
        now_ms = int(self._wall() * 1000)
        for name in tuple(self._over):
            # a worker of an earlier version may have noted it, and may be gone
            if await store.clear(name, name.without_fingerprint()):
                LOG.warning(_FLOW_OVER if name.tenant else _OVER, _named(name))
            self._over.discard(name)
        for name, (reason, count) in tuple(self._met.items()):
            if await store.note(name, reason, now_ms, count):
                LOG.warning(_FLOW_MET if name.tenant else _MET, _named(name), reason)
            later = self._met.pop(name, None)
            if later is not None and later[1] > count:
                # met again while this was written
                self._met[name] = (later[0], later[1] - count)


def _name(key: PoolKey, topic: str) -> ConditionName:
    return ConditionName(key.environment, key.team_id, key.key_id, topic, fingerprint=key.fingerprint)


def _named(name: ConditionName) -> str:
    return f"tenant {name.tenant} in {name.environment}" if name.tenant else name.text()
