"""Short words for the tests of the queues: open one, claim from it, and say what came."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shards.claim import Claimed, Holding
from shards.queue import Queue
from shards.redis import ScriptConnection


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Queue]:
    connection = ScriptConnection(url)
    try:
        yield Queue(connection)
    finally:
        await connection.close()


def jobs(name: str, count: int, first: int = 0) -> list[bytes]:
    """Encoded jobs as the queues see them: bytes that say whose they are and in which order they came."""
    return [f"{name}{number}".encode() for number in range(first, first + count)]


async def take(
    queue: Queue,
    holding: Holding,
    number: int,
    most: int = 1_000,
    *,
    quantum: int = 4_000,
    low_share: float = 0.0,
    rooms: Sequence[tuple[str, int]] = (),
) -> Claimed:
    """One claim on one shard, which must be granted."""
    wanted = [(holding, f"{holding.fence}:{number}", most)]
    [claimed] = await queue.claim(wanted, quantum=quantum, low_share=low_share, rooms=rooms)
    assert isinstance(claimed, Claimed), claimed
    return claimed


def portions(claimed: Claimed) -> list[tuple[str, str, int]]:
    """Who was served, in which lane and with how many jobs, in turn."""
    return [(run.lane, run.flow, len(run.jobs)) for run in claimed.runs]


def all_jobs(claimed: Claimed) -> list[bytes]:
    return [job for run in claimed.runs for job in run.jobs]
