"""What is where in Redis: how many jobs at a moment, while the gateway runs, and which, when it has ended.

A push that the API accepted and the sink never had is not lost as long as it stands in a ready list, in a claim or in
the waiting set, nor when it is among the dead letters: then it was given up, and the letter says why.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec import DecodeError
from redis import Redis
from redis.exceptions import RedisError

from shards.campaign import apns_id_of, is_element
from shards.job import decode_job
from shards.keys import ShardKeys, shard_keys
from shards.lanes import Lane
from shards.tenants import DEFAULT_SHARDS

ANSWER_S: Final = 2.0

# KEYS: for each shard the rings of its lanes, waiting and claims; ARGV: tenants
_COUNT: Final = """
local ready, waiting, claimed = 0, 0, 0
for i = 1, #KEYS, 4 do
  for _, tenant in ipairs(ARGV) do
    ready = ready + redis.call('LLEN', KEYS[i] .. ':' .. tenant) + redis.call('LLEN', KEYS[i + 1] .. ':' .. tenant)
  end
  waiting = waiting + redis.call('ZCARD', KEYS[i + 2])
  for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[i + 3])) do
    claimed = claimed + redis.call('LLEN', KEYS[i + 3] .. ':' .. claim_id)
  end
end
return {ready, waiting, claimed}
"""

# KEYS: n keys of claims, then n of leases; ARGV: how the name of the holder ends that is asked about, empty for all.
# A shard without a lease may be anybody's, and counts.
_COUNT_CLAIMED: Final = """
local shards = #KEYS / 2
local jobs = 0
for i = 1, shards do
  local holder = redis.call('GET', KEYS[shards + i])
  if not holder or ARGV[1] == '' or string.sub(holder, -#ARGV[1]) == ARGV[1] then
    for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[i])) do
      jobs = jobs + redis.call('LLEN', KEYS[i] .. ':' .. claim_id)
    end
  end
end
return jobs
"""


class Counts(NamedTuple):
    """Jobs at one moment. A claim's list holds a line for each run of jobs beside the jobs, and these count too."""

    ready: int
    waiting: int
    claimed: int

    @property
    def queued(self) -> int:
        return self.ready + self.waiting + self.claimed


class Place(StrEnum):
    """Where a job stands."""

    READY = "ready"
    CLAIMED = "claimed"
    DUE = "due"  # waiting, and its time has come
    WAITING = "waiting"  # its time is still to come
    DEAD = "dead"


class Found(NamedTuple):
    """A job in Redis. ``reason`` is that of a dead letter, or empty."""

    apns_id: bytes
    place: Place
    reason: str = ""


class Whereabouts:
    """Asks Redis about the jobs of these tenants."""

    def __init__(self, url: str, tenants: Sequence[str]) -> None:
        self._redis: Any = Redis.from_url(url, socket_timeout=ANSWER_S)
        self._tenants = tenants
        self._shards = [shard_keys(shard) for shard in range(DEFAULT_SHARDS)]

    def close(self) -> None:
        self._redis.close()

    def counts(self) -> Counts | None:
        """None when Redis does not answer."""
        keys = [key for s in self._shards for key in (s.high, s.low, s.waiting, s.claims)]
        found = self._ask(_COUNT, keys, self._tenants)
        return None if found is None else Counts(*found)

    def claimed(self, holder: str = "") -> int | None:
        """Jobs of claims, in shards whose holder's name ends so; None when Redis does not answer."""
        keys = [shard.claims for shard in self._shards] + [shard.lease for shard in self._shards]
        found = self._ask(_COUNT_CLAIMED, keys, [holder])
        return None if found is None else int(found)

    def fsync_pending(self) -> bool:
        """Whether an fsync is under way in the background, so that writes may be put off."""
        try:
            return bool(self._redis.info("persistence")["aof_pending_bio_fsync"])
        except RedisError:
            return False

    def written(self) -> tuple[int, int, int]:
        """Keys changed and bytes received since Redis began, and the size of its append-only file."""
        said = self._redis.info("everything")
        return said["rdb_changes_since_last_save"], said["total_net_input_bytes"], said["aof_current_size"]

    def found(self, now_ms: int) -> Iterator[Found]:
        """All jobs, read one place after the other: nothing must move meanwhile. ``now_ms``: Unix ms."""
        for shard in self._shards:
            yield from self._queued(shard, now_ms)
            for _, letter in self._redis.xrange(shard.dead):
                yield from _found([letter[b"job"]], Place.DEAD, letter[b"reason"].decode())

    def _queued(self, shard: ShardKeys, now_ms: int) -> Iterator[Found]:
        for lane in Lane:
            for tenant in self._tenants:
                yield from _found(self._redis.lrange(shard.ready(lane, tenant), 0, -1), Place.READY)
        for claim_id in self._redis.smembers(shard.claims):
            lines = self._redis.lrange(shard.claim(claim_id.decode()), 0, -1)
            at = 0
            while at < len(lines):
                following = at + 1 + int(lines[at].rpartition(b"|")[2])
                yield from _found(lines[at + 1 : following], Place.CLAIMED)
                at = following
        for member, due_ms in self._redis.zrange(shard.waiting, 0, -1, withscores=True):
            job = member.split(b"|", 2)[2]
            yield from _found([job], Place.DUE if due_ms <= now_ms else Place.WAITING)

    def _ask(self, script: str, keys: Sequence[str], args: Sequence[str]) -> Any:
        for _ in range(2):
            # the first call after a restart of Redis meets a dead connection
            try:
                return self._redis.eval(script, len(keys), *keys, *args)
            except RedisError:
                continue
        return None


def _found(jobs: Sequence[bytes], place: Place, reason: str = "") -> Iterator[Found]:
    for job in jobs:
        try:
            apns_id = apns_id_of(job) if is_element(job) else decode_job(job).id
            yield Found(apns_id, place, reason)
        except DecodeError:
            # whose it was can't be known; its push then counts as lost
            continue
