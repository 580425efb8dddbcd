"""Dead letters, for people: list, look at one, send again, throw away.

Each shard has a stream of them, bounded by number and age, so all of this walks the streams; nothing here runs while
pushes are sent. Unlike the other verbs these work on any shard, whoever holds it.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from shards.campaign import apns_id_of, is_element
from shards.errors import NotFound, StoreRefused
from shards.flow import flow_of
from shards.job import Job, decode_job, encode_job
from shards.keys import ShardKeys, shard_keys
from shards.lanes import Lane
from shards.redis import Call, ScriptConnection, connect, script, store_errors
from shards.tenant import Tenant

PAGE: Final = 500

_REPLAY: Final = script("replay")


class DeadLetter(NamedTuple):
    """A job that ended unsent. ``job`` is None when it can't be read; times are Unix ms, 0 for none."""

    shard: int
    entry: str
    tenant: str
    reason: str
    at_ms: int
    lane: str
    status: int
    timestamp_ms: int
    attempts: int
    admitted_ms: int
    encoded: bytes
    job: Job | None

    @property
    def id(self) -> str:
        """The apns-id, also of an element whose campaign nobody knew."""
        if self.job is None:
            return apns_id_of(self.encoded).decode() if is_element(self.encoded) else ""
        return self.job.id.decode()

    def at(self) -> tuple[int, int]:
        """When it came, for order: Redis numbers the letters of one millisecond."""
        ms, _, number = self.entry.partition("-")
        return int(ms), int(number)


class Wanted(NamedTuple):
    """Which letters are meant: all that no field of this excludes. ``reason`` may be a beginning ("InDoubt")."""

    tenant: str | None = None
    reason: str | None = None

    def has(self, letter: DeadLetter) -> bool:
        return self.tenant in (None, letter.tenant) and letter.reason.startswith(self.reason or "")


def sendable(
    letters: Iterable[DeadLetter], tenants: Iterable[Tenant], *, inherited: bool = False
) -> list[DeadLetter]:
    """Those whose tenant there is, among ``tenants``, and has been since before the letter was a push.

    Another tenant may have come to the name. The push would be sent with its credentials, so only if it may be
    ``inherited``.
    """
    since_ms = {tenant.id: tenant.created_ms for tenant in tenants}
    return [
        letter
        for letter in letters
        if letter.tenant in since_ms
        and (inherited or since_ms[letter.tenant] <= (letter.admitted_ms or letter.at_ms))
    ]


class DeadLetters:
    """Calls about dead letters. Raises StoreError as ``shards.errors`` lists."""

    def __init__(self, url: str, shards: int) -> None:
        self._redis: Any = connect(url)
        self._scripts = ScriptConnection(url)
        self._shards = range(shards)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._scripts.close()

    async def newest(self, wanted: Wanted, most: int) -> list[DeadLetter]:
        """Up to so many of those wanted, the newest first."""
        found: list[DeadLetter] = []
        for shard in self._shards:
            of_shard = 0
            async for letter in self._walk(shard):
                if of_shard == most:
                    break
                if wanted.has(letter):
                    of_shard += 1
                    found.append(letter)
        return sorted(found, key=DeadLetter.at, reverse=True)[:most]

    async def one(self, apns_id: str) -> DeadLetter:
        """The newest letter with this apns-id. Raises NotFound."""
        found = [
            letter for shard in self._shards async for letter in self._walk(shard) if letter.id == apns_id
        ]
        if not found:
            raise NotFound(
                f"there is no dead letter {apns_id}; 'clarion dead list' shows those that there are"
            )
        return max(found, key=DeadLetter.at)

    async def replay(self, letters: Iterable[DeadLetter]) -> int:
        """Make them ready again, with the same id and no attempts; returns how many.

        Those that can't be read stay, and so does what somebody else has replayed meanwhile. Raises StoreRefused
        when Redis takes no more, with the letter in its place.
        """
        calls = []
        for letter in letters:
            if letter.job is None:
                continue
            keys = shard_keys(letter.shard)
            lane = Lane(letter.lane)
            job = encode_job(msgspec.structs.replace(letter.job, attempts=0))
            flow = flow_of(letter.tenant, letter.job.environment)
            calls.append(
                Call(
                    _REPLAY,
                    (
                        *(keys.dead, keys.ring(lane), keys.ready(lane, flow), *_woken(keys)),
                        *(keys.deaths, keys.depth),
                    ),
                    [letter.entry, flow, job, letter.job.id],
                )
            )
        answers: list[Any] = []
        for first in range(0, len(calls), PAGE):
            answers += await self._scripts.run(calls[first : first + PAGE])
        for answer in answers:
            if isinstance(answer, StoreRefused):
                raise answer
        return sum(answers)

    async def purge(self, wanted: Wanted) -> int:
        """Throw away what is wanted; returns how many."""
        gone = 0
        for shard in self._shards:
            entries = [letter.entry async for letter in self._walk(shard) if wanted.has(letter)]
            for first in range(0, len(entries), PAGE):
                with store_errors():
                    gone += await self._redis.xdel(shard_keys(shard).dead, *entries[first : first + PAGE])
        return gone

    async def _walk(self, shard: int) -> AsyncIterator[DeadLetter]:
        """The letters of a shard, the newest first."""
        last = "+"
        while True:
            with store_errors():
                page = await self._redis.xrevrange(shard_keys(shard).dead, last, "-", PAGE)
            for entry, fields in page:
                yield _read(shard, entry.decode(), fields)
            if len(page) < PAGE:
                return
            last = f"({page[-1][0].decode()}"


def _woken(keys: ShardKeys) -> tuple[str, str]:
    return keys.unrung, keys.bell


def _read(shard: int, entry: str, fields: dict[bytes, bytes]) -> DeadLetter:
    """A letter as it lies in the stream. Those of the first version have a tenant, a reason, a time and a job."""
    encoded = fields[b"job"]
    try:
        job = decode_job(encoded)
    except msgspec.DecodeError:
        job = None
    return DeadLetter(
        shard,
        entry,
        fields[b"tenant"].decode(),
        fields[b"reason"].decode(),
        int(fields[b"at_ms"]),
        fields.get(b"lane", b"high").decode(),
        int(fields.get(b"status", 0)),
        int(fields.get(b"timestamp_ms", 0)),
        int(fields.get(b"attempts", job.attempts if job else 0)),
        int(fields.get(b"admitted_ms", job.admitted_ms if job else 0)),
        encoded,
        job,
    )
