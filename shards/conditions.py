"""Conditions: what keeps a credential, or a topic of one, from being used, until its tenant puts it right.

They are few (bounded), written seldom and read by people: one hash for all shards, a JSON record each. Workers note
the same condition independently; the first one that does so raised it, and the first one that clears it removes it.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from shards import keys
from shards.redis import script, store_errors

CONDITIONS_MOST: Final = 1_000

_NOTE: Final = script("note")


class ConditionName(NamedTuple):
    """``topic`` is "" for the credential with all its topics."""

    environment: str
    team_id: str
    key_id: str
    topic: str = ""

    def text(self) -> str:
        return "/".join(self)


class Condition(NamedTuple):
    """``reason`` is APNs' word of the last refusal; ``refusals`` how many there were; Unix ms."""

    name: ConditionName
    reason: str
    since_ms: int
    seen_ms: int
    refusals: int


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

    async def clear(self, name: ConditionName) -> bool:
        """It is over; returns whether it had been noted."""
        with store_errors():
            return bool(await self._redis.hdel(keys.CONDITIONS, name.text()))

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
        place = ConditionName(*name.decode().split("/", 3))
        found.append(Condition(place, read.reason, read.since_ms, read.seen_ms, read.count))
    return found
