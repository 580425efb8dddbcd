"""Conditions: what holds up a credential, a topic of one, or a flow, until its tenant puts it right.

They are few (bounded), written seldom and read by people: one hash for all shards, a JSON record each. Workers note
the same condition independently; the first one that does so raised it, and the first one that clears it removes it.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from shards import keys
from shards.credential import Credential
from shards.environment import Environment
from shards.flow import environment_of, tenant_of
from shards.redis import script, store_errors
from shards.tenant import Tenant

CONDITIONS_MOST: Final = 1_000

# in place of a team: those have 10 capital letters and digits, and the team of a certificate may be ""
_TENANT: Final = "tenant"
# before a key's fingerprint: no name of a credential has it
_MARK: Final = "#"
_NOTE: Final = script("note")


class ConditionName(NamedTuple):
    """Of a credential, with ``topic`` "" for all its topics; or of a ``tenant`` in one environment, a flow.

    The ``fingerprint`` is that of its key or certificate: who only claims another's team and key id is refused alone.
    Those that an earlier version noted have none, and may be of anybody who claims the ids.
    """

    environment: str
    team_id: str = ""
    key_id: str = ""
    topic: str = ""
    tenant: str = ""
    fingerprint: str = ""

    @classmethod
    def of_flow(cls, flow: str) -> "ConditionName":
        return cls(environment_of(flow), tenant=tenant_of(flow))

    @classmethod
    def read(cls, text: str) -> "ConditionName":
        environment, team_id, key_id, topic = text.split("/", 3)
        if team_id == _TENANT:
            return cls(environment, tenant=key_id)
        key_id, _, fingerprint = key_id.partition(_MARK)
        return cls(environment, team_id, key_id, topic, fingerprint=fingerprint)

    def text(self) -> str:
        """How it is stored. A flow's has its tenant in place of a key."""
        if self.tenant:
            return f"{self.environment}/{_TENANT}/{self.tenant}/"
        key = f"{self.key_id}{_MARK}{self.fingerprint}" if self.fingerprint else self.key_id
        return "/".join((self.environment, self.team_id, key, self.topic))

    def without_fingerprint(self) -> "ConditionName":
        """As an earlier version notes it."""
        return self._replace(fingerprint="")

    def is_of(self, credential: Credential) -> bool:
        """Whether it is a condition of that key or certificate. If one of the two has no fingerprint, the ids say."""
        return (
            not self.tenant
            and (self.team_id, self.key_id) == (credential.team_id, credential.known_as)
            and (
                self.fingerprint == credential.fingerprint
                or not self.fingerprint
                or not credential.fingerprint
            )
        )


class Condition(NamedTuple):
    """``reason`` is APNs' word of the last refusal; ``refusals`` how many there were; Unix ms."""

    name: ConditionName
    reason: str
    since_ms: int
    seen_ms: int
    refusals: int

    def concerns(self, tenant: Tenant) -> bool:
        """Whether it holds up this tenant."""
        name = self.name
        if name.tenant:
            return name.tenant == tenant.id
        return any(map(name.is_of, tenant.credentials)) and (
            not name.topic or not tenant.topics or name.topic in tenant.topics
        )

    def sentence(self) -> str:
        """What a person is told, without the tenant's name."""
        environment, _, key_id, topic, tenant, _ = self.name
        since, times = _clock(self.since_ms), f"{self.refusals} times, last {_clock(self.seen_ms)}"
        if tenant:
            others = " or ".join(each for each in Environment if each != environment)
            return (
                f"slowed down in {environment} since {since}: APNs refuses most of its device tokens there as "
                f"{self.reason} ({times}); they may be tokens of {others}, so they are not reported dead. "
                "A few pushes a second go on, and all do when most tokens are good, or after any change to the tenant"
            )
        # a key by its id, a certificate by its name
        what = f"topic {topic} of credential {key_id}" if topic else f"credential {key_id}"
        return (
            f"paused since {since}: APNs says {self.reason} to {what} in {environment} ({times}); "
            "one push tries again now and then"
        )


class _Record(msgspec.Struct):
    reason: str
    since_ms: int
    seen_ms: int
    count: int


class Conditions:
    """The store's calls about conditions, over a plain client. Raises StoreError as ``shards.errors`` lists."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    async def note(self, name: ConditionName, reason: str, now_ms: int, count: int = 1) -> bool:
        """The condition was met so many times more; returns whether it is a new one."""
        with store_errors():
            answer = await self._redis.eval(
                _NOTE.text, 1, keys.CONDITIONS, name.text(), reason, now_ms, count, CONDITIONS_MOST
            )
        return int(answer) == 1

    async def clear(self, *names: ConditionName) -> bool:
        """They are over; returns whether one of them had been noted."""
        with store_errors():
            return bool(await self._redis.hdel(keys.CONDITIONS, *(name.text() for name in names)))

    async def all(self) -> list[Condition]:
        """Every condition, by name."""
        with store_errors():
            records = await self._redis.hgetall(keys.CONDITIONS)
        return sorted(decode_conditions(records))


def decode_conditions(records: Mapping[bytes, bytes]) -> list[Condition]:
    found = []
    for name, record in records.items():
        # Lua's cjson writes what it was given as text: numbers are read out of strings
        read = msgspec.json.decode(record, type=_Record, strict=False)
        place = ConditionName.read(name.decode())
        found.append(Condition(place, read.reason, read.since_ms, read.seen_ms, read.count))
    return found


def _clock(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms / 1000))
