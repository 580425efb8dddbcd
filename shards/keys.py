"""Every Redis key of Clarion, spelled once.

All keys of a shard carry the hash tag ``{shard}``, so that a script works on one Redis Cluster slot. A key that a
script derives from another (a flow's ready list from its lane's ring, a claim from the index of claims) is the
declared key, a colon and the name, and so carries the same tag.

    clarion:{07}:high            list    ring: flows that have ready jobs in this lane, each once
    clarion:{07}:high:acme       list    ready jobs of one flow, oldest first
    clarion:{07}:depth           string  how many jobs are ready, in both lanes
    clarion:{07}:waiting         zset    "lane|flow|job" by due time, Unix ms
    clarion:{07}:claims          set     ids of the claims not yet settled
    clarion:{07}:claims:3:41     list    a claim of fence 3: "lane|flow|count", then so many jobs; repeated
    clarion:{07}:fence           string  "number.nonce" of the shard's latest holder
    clarion:{07}:lease           string  name of the member that holds the shard; lapses
    clarion:{07}:unrung          string  set by a claim: the bell has not rung since; "asleep" if nothing was left
    clarion:{07}:bell            channel rung once after a claim, when there is what the holder can't know of
    clarion:{07}:dead            stream  jobs that were refused or gave up, with the reason; capped
    clarion:{07}:dead-tokens     stream  device tokens that APNs called dead; capped
    clarion:{07}:campaigns       hash    id of a campaign → its record, while pushes of it stand here as elements
    clarion:{07}:left            hash    id of a campaign → how many of them
    clarion:{07}:deaths          hash    id of a job → at how many deaths of its holder it was in hand; lapses
    clarion:{07}:once            set     flows whose pushes are not repeated when in doubt
    clarion:{07}:rules           hash    flow → "weight per_s paused", for flows that are not like most
    clarion:{07}:budgets         hash    flow with a send rate → "jobs that it may send, Unix ms of that"
    clarion:{07}:turns           hash    lane → "flow jobs": a turn that the end of a claim interrupted;
                                         "owed" → jobs that the low lane has been kept waiting for
    clarion:members              zset    names of the workers that live, by the time at which each lapses, Unix ms
    clarion:tenants              hash    tenant id → record
    clarion:api-keys             hash    SHA-256 of an API key → record
    clarion:changes              channel ids of tenants whose records changed
    clarion:conditions           hash    "environment/team/key/topic", or "environment/tenant/name/" for a flow → what
                                         holds it up
    clarion:layout               hash    what was fixed at first start: the number of shards
    clarion:rate:acme            string  pushes that the API may take in of a tenant with a rate, and Unix ms of that
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


def rate_key(tenant: str) -> str:
    return f"clarion:rate:{tenant}"


class ShardKeys(NamedTuple):
    """The keys of one shard."""

    high: str
    low: str
    depth: str
    waiting: str
    claims: str
    fence: str
    lease: str
    unrung: str
    bell: str
    dead: str
    dead_tokens: str
    deaths: str
    once: str
    rules: str
    budgets: str
    turns: str
    campaigns: str
    left: str

    def ring(self, lane: Lane) -> str:
        return self.high if lane is Lane.HIGH else self.low

    def ready(self, lane: Lane, flow: str) -> str:
        return f"{self.ring(lane)}:{flow}"

    def claim(self, claim_id: str) -> str:
        return f"{self.claims}:{claim_id}"


@cache
def shard_keys(shard: int) -> ShardKeys:
    tag = f"clarion:{{{shard:02d}}}"
    return ShardKeys(*(f"{tag}:{name.replace('_', '-')}" for name in ShardKeys._fields))
