"""Which member serves which shards. Pure: every member computes the same from the same list of names.

Rendezvous hashing (Thaler and Ravishankar, 1998): each member has a score for each shard, and the highest has it, so
a member that comes or goes moves little more than its share. Alone it would now and then spread 64 shards over 2
members as 26 and 38, and the busier CPU would bound the gateway; so no member gets more than its even share, rounded
up, and what would be above that goes to the next highest score.
"""

from collections.abc import Iterable
from hashlib import blake2b


def assign(shards: int, members: Iterable[str]) -> dict[str, list[int]]:
    """Member → its shards, ascending; every shard has one member, unless there are none."""
    names = sorted(set(members))
    held: dict[str, list[int]] = {name: [] for name in names}
    if not names:
        return held
    most = -(-shards // len(names))
    scores = sorted(
        ((_score(name, shard), name, shard) for shard in range(shards) for name in names), reverse=True
    )
    free = set(range(shards))
    for _, name, shard in scores:
        if shard in free and len(held[name]) < most:
            held[name].append(shard)
            free.discard(shard)
    return {name: sorted(its) for name, its in held.items()}


def _score(member: str, shard: int) -> bytes:
    return blake2b(f"{member}:{shard}".encode(), digest_size=8).digest()
