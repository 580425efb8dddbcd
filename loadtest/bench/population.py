"""Very many tenants, made in a moment: their records, and jobs for them that stand aside until all are wanted at once.

Tenants of one team share its key, as those of an agency that sends for many customers may; each has a record of its
own with a sealed copy of that key.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

from loadtest.bench.lab import Lab, device_token, payload
from loadtest.teams import MadeUpTeam, make_team, tenant_of
from shards import keys
from shards.campaign import Campaign, Portion, element, encode_campaign, new_campaign_id
from shards.job import Job, encode_job, new_ids
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.placement import base_shard, device_shard, shards_of
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection, connect
from shards.tenant import encode_tenant
from shards.tenants import DEFAULT_SHARDS
from shards.vault import Vault, read_master_key

# in one call, and in all calls of one round trip
_CALLS: Final = 500
_TOGETHER: Final = 2_000
_ANSWER_S: Final = 60.0

# KEYS: for each pair of shards the ring, depth, asleep and bell of the one, then ring and depth of the other, and what
# both have of campaigns
_MOVE_IN: Final = """
for i = 1, #KEYS, 10 do
  local flows = redis.call('LRANGE', KEYS[i + 4], 0, -1)
  for _, flow in ipairs(flows) do
    redis.call('RENAME', KEYS[i + 4] .. ':' .. flow, KEYS[i] .. ':' .. flow)
  end
  if #flows > 0 then
    redis.call('RENAME', KEYS[i + 4], KEYS[i])
    redis.call('RENAME', KEYS[i + 5], KEYS[i + 1])
    redis.call('DEL', KEYS[i + 2])
    redis.call('PUBLISH', KEYS[i + 3], '')
  end
  for j = i + 6, i + 7 do
    if redis.call('EXISTS', KEYS[j + 2]) == 1 then
      redis.call('RENAME', KEYS[j + 2], KEYS[j])
    end
  end
end
"""


class Sender(NamedTuple):
    """A tenant that pushes: its name, its topic, and how many shards its devices are hashed over."""

    tenant: str
    topic: str
    spread: int


def settle_in(place: Lab, tenants: int, teams: int, spread: int) -> list[Sender]:
    """Write the records of so many tenants of so many teams, as ``Tenants.create`` would, without API keys."""
    vault = Vault(read_master_key(place.master_key_file, create=True))
    place.teams = [make_team(number) for number in range(teams)]
    members = [_member(place.teams[number % teams], number) for number in range(tenants)]
    records = [(team.tenant, encode_tenant(tenant_of(team, vault, spread=spread))) for team in members]

    async def write() -> None:
        redis: Any = connect(place.redis.url)
        for first in range(0, len(records), _CALLS):
            await redis.hset(keys.TENANTS, mapping=dict(records[first : first + _CALLS]))
        await redis.aclose()

    asyncio.run(write())
    return [Sender(team.tenant, team.topic, spread) for team in members]


def _member(team: MadeUpTeam, number: int) -> MadeUpTeam:
    return team._replace(tenant=f"member-{number}")


def in_turn(senders: Sequence[Sender], jobs: int) -> Iterator[tuple[Sender, bytes]]:
    """So many jobs of the senders in turn, each for another device."""
    return ((sender, device_token()) for sender in islice(cycle(senders), jobs))


def one_for_each_shard(senders: Iterable[Sender]) -> Iterator[tuple[Sender, bytes]]:
    """One job of each sender for each of the shards that it is spread over."""
    for sender in senders:
        base = base_shard(sender.tenant, DEFAULT_SHARDS)
        left = set(shards_of(sender.tenant, sender.spread, DEFAULT_SHARDS))
        while left:
            token = device_token()
            shard = device_shard(base, token, sender.spread, DEFAULT_SHARDS)
            if shard in left:
                left.discard(shard)
                yield sender, token


def batches(pushes: Sequence[tuple[Sender, bytes]], payload_bytes: int) -> Iterator[Batch]:
    """Jobs for these devices, by shard and flow."""
    body, now_ms = payload(payload_bytes), int(time.time() * 1000)
    by_place: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    ids = new_ids(now_ms, os.urandom(10 * len(pushes)))
    for job_id, (sender, token) in zip(ids, pushes, strict=True):
        shard = device_shard(base_shard(sender.tenant, DEFAULT_SHARDS), token, sender.spread, DEFAULT_SHARDS)
        job = Job(job_id, token, sender.topic, body, admitted_ms=now_ms)
        by_place[shard, sender.tenant].append(encode_job(job))
    for (shard, flow), encoded in by_place.items():
        for first in range(0, len(encoded), _CALLS):
            yield Batch(shard, Lane.HIGH, flow, encoded[first : first + _CALLS])


def campaign_batches(pushes: Sequence[tuple[Sender, bytes]], payload_bytes: int) -> Iterator[Batch]:
    """The same as one campaign of each sender."""
    body, now_ms = payload(payload_bytes), int(time.time() * 1000)
    by_sender: dict[Sender, list[bytes]] = defaultdict(list)
    for sender, token in pushes:
        by_sender[sender].append(token)
    for sender, tokens in by_sender.items():
        campaign_id = new_campaign_id(now_ms, os.urandom(10))
        record = encode_campaign(Campaign(sender.topic, body, admitted_ms=now_ms))
        base = base_shard(sender.tenant, DEFAULT_SHARDS)
        by_shard: dict[int, list[bytes]] = defaultdict(list)
        for number, token in enumerate(tokens):
            shard = device_shard(base, token, sender.spread, DEFAULT_SHARDS)
            by_shard[shard].append(element(campaign_id, number, bytes.fromhex(token.decode())))
        for shard, elements in by_shard.items():
            for first in range(0, len(elements), _CALLS):
                some = elements[first : first + _CALLS]
                portion = Portion(campaign_id, record, len(some))
                yield Batch(shard, Lane.HIGH, sender.tenant, some, campaigns=[portion])


Stored = Callable[[Sequence[tuple[Sender, bytes]], int], Iterator[Batch]]


class Stock:
    """Jobs that no worker sees yet: they stand in shards that nobody holds, and are moved into the real ones at once.

    So a drain begins with the links of an earlier one still open, and none of its jobs is sent while others are still
    on their way into Redis.
    """

    def __init__(self, place: Lab, stored: Stored = batches) -> None:
        self._place = place
        # how pushes are stored
        self._stored = stored

    def lay_in(self, pushes: Sequence[tuple[Sender, bytes]], payload_bytes: int) -> None:
        """Enqueue jobs for these devices, as ingest would, where nobody looks."""

        async def enqueue() -> None:
            connection = ScriptConnection(self._place.redis.url, answer_timeout_s=_ANSWER_S)
            queue, some = Queue(connection), []
            for batch in self._stored(pushes, payload_bytes):
                some.append(batch._replace(shard=batch.shard + DEFAULT_SHARDS))
                if sum(len(each.jobs) for each in some) >= _TOGETHER:
                    await queue.enqueue(some)
                    some = []
            await queue.enqueue(some)
            await connection.close()

        asyncio.run(enqueue())

    def move_in(self, redis: Any) -> None:
        """Make all of it ready in one step."""
        names = [name for shard in range(DEFAULT_SHARDS) for name in _pair(shard)]
        redis.eval(_MOVE_IN, len(names), *names)


def _pair(shard: int) -> tuple[str, ...]:
    to, aside = shard_keys(shard), shard_keys(shard + DEFAULT_SHARDS)
    return (to.high, to.depth, to.unrung, to.bell, aside.high, aside.depth) + (
        *(to.campaigns, to.left),
        *(aside.campaigns, aside.left),
    )
