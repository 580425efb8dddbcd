"""Which shard a device's jobs stand on. Pure.

A tenant has a base shard by a stable hash of its id, and its devices are hashed over ``spread`` shards from there.
Keeping a tenant on few shards keeps it on few workers, and so on few links: APNs binds each connection to one
team, so every worker that serves a tenant needs a connection of its own for it.

CRC-32 is not a cryptographic hash and need not be: it is stable across processes and versions (Python's ``hash``
is neither), and costs 50 ns.
"""

from zlib import crc32


def base_shard(tenant: str, shards: int) -> int:
    """The first shard of a tenant, in ``range(shards)``."""
    return crc32(tenant.encode()) % shards


def shards_of(tenant: str, spread: int, shards: int) -> list[int]:
    """The shards that a tenant's devices are hashed over."""
    base = base_shard(tenant, shards)
    return [(base + number) % shards for number in range(spread)]


def device_shard(base: int, device_token: bytes, spread: int, shards: int) -> int:
    """The shard of one device, given its tenant's base shard; always the same for the same device."""
    return (base + crc32(device_token) % spread) % shards
