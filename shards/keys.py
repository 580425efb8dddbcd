"""Every Redis key of Clarion, spelled once.

All keys of a shard carry the hash tag ``{shard}``, so that a script works on one Redis Cluster slot. A key that a
script derives from another (a tenant's ready list from its lane's ring, a claim from the index of claims) is the
declared key, a colon and the name, and so carries the same tag.

    clarion:{07}:high            list    ring: tenants that have ready jobs in this lane, each once
    clarion:{07}:high:acme       list    ready jobs of one tenant, oldest first
    clarion:{07}:waiting         zset    "lane|tenant|job" by due time, Unix ms
    clarion:{07}:claims          set     ids of the claims not yet settled
    clarion:{07}:claims:3:41     list    a claim of fence 3: "lane|tenant|count", then so many jobs; repeated
    clarion:{07}:fence           string  "number.nonce" of the shard's latest holder
    clarion:{07}:lease           string  name of the member that holds the shard; lapses
    clarion:{07}:asleep          string  set when a claim found nothing: the next enqueue rings the bell
    clarion:{07}:bell            channel rung once for an enqueue on a shard that is asleep
    clarion:{07}:dead            stream  jobs that were refused or gave up, with the reason; capped
    clarion:{07}:dead-tokens     stream  device tokens that APNs called dead; capped
    clarion:{07}:deaths          hash    id of a job → at how many deaths of its holder it was in hand; lapses
    clarion:{07}:once            set     tenants whose pushes are not repeated when in doubt
    clarion:members              zset    names of the workers that live, by the time at which each lapses, Unix ms
    clarion:tenants              hash    tenant id → record
    clarion:api-keys             hash    SHA-256 of an API key → record
    clarion:changes              channel ids of tenants whose records changed
    clarion:conditions           hash    "environment/team/key/topic" → what keeps that credential from being used
    clarion:layout               hash    what was fixed at first start: the number of shards
"""

from functools import cache
from typing import Final, NamedTuple

from shards.lanes import Lane

MEMBERS: Final = "clarion:members"
TENANTS: Final = "clarion:tenants"
API_KEYS: Final = "clarion:api-keys"
CHANGES: Final = "clarion:changes"
CONDITIONS: Final = "clarion:conditions"
LAYOUT: Final = "clarion:layout"


class ShardKeys(NamedTuple):
    """The keys of one shard."""

    high: str
    low: str
    waiting: str
    claims: str
    fence: str
    lease: str
    asleep: str
    bell: str
    dead: str
    dead_tokens: str
    deaths: str
    once: str

    def ring(self, lane: Lane) -> str:
        return self.high if lane is Lane.HIGH else self.low

    def ready(self, lane: Lane, tenant: str) -> str:
        return f"{self.ring(lane)}:{tenant}"

    def claim(self, claim_id: str) -> str:
        return f"{self.claims}:{claim_id}"


@cache
def shard_keys(shard: int) -> ShardKeys:
    tag = f"clarion:{{{shard:02d}}}"
    return ShardKeys(*(f"{tag}:{name.replace('_', '-')}" for name in ShardKeys._fields))
