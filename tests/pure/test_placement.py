"""Where jobs stand: stable for ever, spread evenly, and no further than a tenant's spread."""

from collections import Counter

import pytest

from shards.placement import base_shard, device_shard

TOKENS = [f"{number:064x}".encode() for number in range(4_000)]


@pytest.mark.parametrize(
    ("tenant", "base"), [("acme", 62), ("zeta", 19), ("a", 3), ("tenant-0001", 24), ("ümlaut", 32)]
)
def test_a_tenants_base_shard_is_the_same_in_every_version(tenant: str, base: int) -> None:
    # jobs wait in Redis while Clarion is replaced: a new version must look for them in the same place
    assert base_shard(tenant, 64) == base


@pytest.mark.parametrize(("number", "shard"), [(0, 0), (1, 62), (2, 0), (3, 62)])
def test_a_devices_shard_is_the_same_in_every_version(number: int, shard: int) -> None:
    assert device_shard(61, TOKENS[number], 4, 64) == shard


@pytest.mark.parametrize("shards", [1, 7, 64])
def test_base_shards_are_shards(shards: int) -> None:
    assert {base_shard(f"tenant-{number}", shards) for number in range(2_000)} == set(range(shards))


@pytest.mark.parametrize(
    ("base", "spread", "shards"), [(0, 1, 64), (5, 4, 64), (62, 4, 64), (1, 3, 2), (0, 1, 1)]
)
def test_devices_stand_on_the_spread_from_the_base_shard_onwards(base: int, spread: int, shards: int) -> None:
    found = {device_shard(base, token, spread, shards) for token in TOKENS}
    assert found == {(base + step) % shards for step in range(spread)}


def test_devices_are_spread_evenly() -> None:
    counts = Counter(device_shard(0, token, 8, 64) for token in TOKENS)
    assert len(counts) == 8
    assert max(counts.values()) < 1.25 * len(TOKENS) / 8


def test_tenants_are_spread_evenly() -> None:
    counts = Counter(base_shard(f"tenant-{number}", 16) for number in range(4_000))
    assert len(counts) == 16
    assert max(counts.values()) < 1.25 * 4_000 / 16
