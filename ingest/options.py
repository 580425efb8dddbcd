"""What one ingest process may be told, with its defaults, its units and its limits.

The options are checked before the first fork: ``validate`` names the option that is wrong and what to write
instead. Nothing here reads the environment; whoever starts the process does.
"""

from dataclasses import dataclass
from typing import Final

from runtime.options import OptionError
from shards.redis import check_url

KIB: Final = 1024
MIB: Final = 1024 * KIB
PUSH_BYTES_MOST: Final = 16 * KIB


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestOptions:
    """One ingest process.

    bind_host, bind_port    where to listen for HTTP; port 0 takes any free one
    redis_url               where the queues are: redis://, rediss:// or unix://
    backlog                 connections that the kernel keeps for us until we accept them; it cuts this to its somaxconn
    body_bytes_most         the longest request body, after decompression
    arriving_bytes_most     bytes of bodies that may be arriving at one time, shared as waiting_jobs_most is
    batch_items_most        the most notifications in one batch
    campaign_devices_most   the most devices of one campaign
    waiting_jobs_most       pushes that may wait for Redis at one time, of one tenant as many as are then left for
                            others (half, if it is alone); more are answered 503 at once
    waiting_bytes_most      the same in bytes of encoded jobs
    queue_most_tenant       pushes that a tenant without a limit of its own may have in the queues; then it is told 429
    queue_most_shard        pushes that one shard may hold, of all tenants; then everybody is told 503
    retry_after_s           what a 503, or a 429 for a full queue, gives as Retry-After
    body_s                  how long a request body may take to arrive
    answer_s                how long an answer may wait for the client to read it; then the connection is cut
    keepalive_s             how long a connection without a request is kept
    grace_s                 how long open requests may take after a stop was asked for
    """

    redis_url: str
    bind_host: str = "127.0.0.1"
    bind_port: int = 8080
    backlog: int = 65_535
    body_bytes_most: int = 8 * MIB
    arriving_bytes_most: int = 128 * MIB
    batch_items_most: int = 10_000
    campaign_devices_most: int = 100_000
    waiting_jobs_most: int = 400_000
    waiting_bytes_most: int = 128 * MIB
    queue_most_tenant: int = 2_000_000
    queue_most_shard: int = 1_000_000
    retry_after_s: int = 1
    body_s: float = 30.0
    answer_s: float = 30.0
    keepalive_s: float = 75.0
    grace_s: float = 8.0

    def validate(self) -> None:
        """Raises OptionError for the first option that can't be used."""
        if not self.bind_host:
            raise OptionError("bind", "has no address; write one before the port, 0.0.0.0 for every IPv4 one")
        if not 0 <= self.bind_port <= 65_535:
            raise OptionError("bind", "has no port from 0 to 65535; write it as HOST:PORT, 127.0.0.1:8080")
        check_url(self.redis_url)
        _within("backlog", self.backlog, 1, 65_535)
        _within("body_bytes_most", self.body_bytes_most, PUSH_BYTES_MOST, 256 * MIB)
        # the longest body must fit half of the room, or it could never be accepted
        _within("arriving_bytes_most", self.arriving_bytes_most, 2 * self.body_bytes_most, 16 * KIB * MIB)
        _within("batch_items_most", self.batch_items_most, 1, 100_000)
        _within("campaign_devices_most", self.campaign_devices_most, 1, 1_000_000)
        # what the other limits allow must fit half of the waiting room, or it could never be accepted
        pushes_most = max(self.batch_items_most, self.campaign_devices_most)
        _within("waiting_jobs_most", self.waiting_jobs_most, 2 * pushes_most, 10_000_000)
        # the shortest device token is 5 bytes of a campaign's body, and 18 as an element
        _within("waiting_bytes_most", self.waiting_bytes_most, 8 * self.body_bytes_most, 16 * KIB * MIB)
        _within("queue_most_tenant", self.queue_most_tenant, 1, 1_000_000_000)
        _within("queue_most_shard", self.queue_most_shard, 1, 1_000_000_000)
        _within("retry_after_s", self.retry_after_s, 1, 3_600)
        _within("body_s", self.body_s, 1, 3_600)
        _within("answer_s", self.answer_s, 1, 3_600)
        _within("keepalive_s", self.keepalive_s, 1, 86_400)
        _within("grace_s", self.grace_s, 0, 3_600)


def _within(option: str, given: float, least: int, most: int) -> None:
    if not least <= given <= most:
        raise OptionError(option, f"is {given:g}; write a number from {least} to {most}")
