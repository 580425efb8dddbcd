"""The gatherer: requests that come in together go to Redis together, and each learns the fate of its own jobs.

Theory of operation. A request hands over a parcel: its encoded jobs, sorted by place (shard, lane, flow). The
parcels wait in a line. As long as there are any, one flight is under way: it takes parcels from the front up to
a bound, merges what goes to the same place, and writes it to Redis as one pipeline (group commit). What arrives
meanwhile rides on the next flight. So a lone request is not delayed, and the more there are, the more share one
round trip and one script call.

Promises, each kept beside the line that makes it true:

- a parcel is reported as stored only after Redis has answered for all of its jobs;
- a parcel that Redis may have taken, without an answer, is reported as in doubt and is not sent again;
- what waits is bounded, and one tenant's part of it by what is left for the others (``ingest/room.py``): a parcel that
  does not fit is turned away at once;
- a request that goes away takes only its own parcel with it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from ingest.room import Room
from shards.campaign import Portion
from shards.errors import StoreError, StoreRefused, StoreUnavailable
from shards.flow import flow_of, tenant_of
from shards.job import Job, encode_job
from shards.lanes import Lane
from shards.notification import CampaignRequest, Notification
from shards.placement import base_shard, device_shard
from shards.queue import Batch, Full
from shards.tenant import Tenant

LOG: Final = logging.getLogger("clarion.ingest")
FLIGHT_JOBS_MOST: Final = 20_000
FLIGHT_BYTES_MOST: Final = 16 * 1024 * 1024

# shard, lane, flow, and how many pushes the flow may have on that shard
Place = tuple[int, Lane, str, int]
Placer = Callable[[Notification | CampaignRequest, bytes], Place]
Reason = StoreRefused | Full


class Parcel(NamedTuple):
    """The encoded jobs of one request by place, with their number and their size in bytes.

    ``campaign``: its id and its record, if they are the elements of one.
    """

    by_place: Mapping[Place, Sequence[bytes]]
    jobs: int
    size: int
    campaign: tuple[bytes, bytes] | None = None

    @property
    def tenant(self) -> str:
        """Whose they are: a request has one tenant. There must be a job."""
        _, _, flow, _ = next(iter(self.by_place))
        return tenant_of(flow)


class Stored(NamedTuple):
    """Redis answered: it has all jobs but those of the places in ``refused``."""

    refused: Mapping[Place, Reason]


class Unstored(NamedTuple):
    """Redis did not answer. ``in_doubt``: it may have taken the jobs all the same."""

    reason: str
    in_doubt: bool


class TurnedAway(NamedTuple):
    """Nothing was tried: with its parcel the tenant would have had more waiting than is left free.

    What waits already: its own, and that of all.
    """

    own_jobs: int
    own_bytes: int
    waiting_jobs: int
    waiting_bytes: int


Fate = Stored | Unstored | TurnedAway

_ALL_STORED: Final = Stored({})


class Enqueuer(Protocol):
    """The one verb of ``shards.queue.Queue`` that ingest needs."""

    async def enqueue(
        self, batches: Sequence[Batch], shard_most: int = 0
    ) -> list[StoreRefused | Full | None]: ...


def placer(tenant: Tenant, shards: int, queue_most: int) -> Placer:
    """Where a tenant's jobs go: by what is asked for, and the device token in hex.

    ``queue_most`` is how many may stand in the queues, if it has no limit of its own. It is divided over the tenant's
    shards: a shard's scripts see no other shard.
    """
    name, spread = tenant.id, tenant.spread
    base = base_shard(name, shards)
    most = -(-(tenant.limits.queue_most or queue_most) // min(spread, shards))
    flows: dict[str, str] = {}

    def place(notification: Notification | CampaignRequest, device_token: bytes) -> Place:
        environment = notification.environment
        flow = flows.get(environment)
        if flow is None:
            flow = flows[environment] = flow_of(name, environment)
        return device_shard(base, device_token, spread, shards), notification.lane, flow, most

    return place


def pack(placed: Sequence[tuple[Place, Job]]) -> Parcel:
    """Encode jobs and sort them by place, each place's in their order."""
    by_place: dict[Place, list[bytes]] = {}
    size = 0
    for place, job in placed:
        encoded = encode_job(job)
        size += len(encoded)
        if place in by_place:
            by_place[place].append(encoded)
        else:
            by_place[place] = [encoded]
    return Parcel(by_place, len(placed), size)


class Gatherer:
    """Takes parcels, flies them to Redis, and tells each its fate.

    ``jobs_most``, ``bytes_most``: what may wait, of all tenants.
    """

    def __init__(
        self,
        queue: Enqueuer,
        *,
        jobs_most: int,
        bytes_most: int,
        shard_most: int = 0,
        stored: Callable[[int], None] = lambda jobs: None,
    ) -> None:
        self._queue = queue
        # told of each flight how many jobs Redis has of it
        self._stored = stored
        # what a shard may hold; 0 for any number
        self._shard_most = shard_most
        # taken by the line and by the flight under way
        self._jobs = Room(jobs_most)
        self._bytes = Room(bytes_most)
        self._line: deque[tuple[Parcel, asyncio.Future[Fate]]] = deque()
        self._flight: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "idle" if self._flight is None else "flying"
        return (
            f"<Gatherer {state}, {self._jobs.taken} jobs, {self._bytes.taken} bytes, "
            f"{len(self._line)} parcels in line>"
        )

    async def store(self, parcel: Parcel) -> Fate:
        """Store a request's jobs; returns when their fate is known, in seconds even if Redis hangs."""
        tenant = parcel.tenant
        if not self._jobs.fits(tenant, parcel.jobs) or not self._bytes.fits(tenant, parcel.size):
            return TurnedAway(
                self._jobs.of(tenant), self._bytes.of(tenant), self._jobs.taken, self._bytes.taken
            )
        fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        self._line.append((parcel, fate))
        self._jobs.take(tenant, parcel.jobs)
        self._bytes.take(tenant, parcel.size)
        if self._flight is None:
            # a new task begins in the next turn of the loop, so all requests of this turn ride with it
            self._flight = asyncio.create_task(self._fly())
        return await fate

    async def landed(self) -> None:
        """Wait until nothing is under way."""
        while self._flight is not None:
            await asyncio.wait((self._flight,))

    async def _fly(self) -> None:
        try:
            while self._line:
                await self._fly_once(self._board())
        finally:
            self._flight = None

    def _board(self) -> list[tuple[Parcel, asyncio.Future[Fate]]]:
        """The parcels of the next flight: at least one, and no more than one exchange with Redis should carry."""
        aboard: list[tuple[Parcel, asyncio.Future[Fate]]] = []
        jobs = size = 0
        while self._line and (not aboard or (jobs < FLIGHT_JOBS_MOST and size < FLIGHT_BYTES_MOST)):
            parcel, fate = self._line.popleft()
            aboard.append((parcel, fate))
            jobs += parcel.jobs
            size += parcel.size
        return aboard

    async def _fly_once(self, aboard: list[tuple[Parcel, asyncio.Future[Fate]]]) -> None:
        cargo: dict[Place, list[bytes]] = {}
        campaigns: dict[Place, list[Portion]] = {}
        for parcel, fate in aboard:
            if fate.done():
                # its request went away before anything was sent: nobody was told that it is accepted
                continue
            for place, jobs in parcel.by_place.items():
                if place in cargo:
                    cargo[place] += jobs
                else:
                    cargo[place] = list(jobs)
                if parcel.campaign is not None:
                    campaigns.setdefault(place, []).append(Portion(*parcel.campaign, len(jobs)))
        landed: Fate = Unstored("the flight was broken off", in_doubt=True)
        try:
            landed = await self._send(cargo, campaigns)
        finally:
            for parcel, fate in aboard:
                tenant = parcel.tenant
                self._jobs.give_back(tenant, parcel.jobs)
                self._bytes.give_back(tenant, parcel.size)
                if not fate.done():
                    fate.set_result(_own_part(landed, parcel))

    async def _send(
        self, cargo: Mapping[Place, Sequence[bytes]], campaigns: Mapping[Place, Sequence[Portion]]
    ) -> Fate:
        batches = [
            Batch(*place[:3], jobs, place[3], campaigns.get(place, ())) for place, jobs in cargo.items()
        ]
        if not batches:
            return _ALL_STORED
        try:
            answers = await self._queue.enqueue(batches, self._shard_most)
        except StoreUnavailable as error:
            # never sent again from here: only the tenant knows whether a second push does harm
            return Unstored(str(error), error.in_doubt)
        except StoreRefused as error:
            # the login was refused, so no job was sent
            return Stored(dict.fromkeys(cargo, error))
        except StoreError as error:
            return Unstored(str(error), in_doubt=True)
        except Exception:
            LOG.exception("the queue failed in a way that nobody foresaw; its jobs are reported as in doubt")
            return Unstored("the queue failed", in_doubt=True)
        refused = {place: answer for place, answer in zip(cargo, answers, strict=True) if answer is not None}
        self._stored(sum(len(jobs) for place, jobs in cargo.items() if place not in refused))
        return Stored(refused) if refused else _ALL_STORED


def _own_part(fate: Fate, parcel: Parcel) -> Fate:
    """What a flight's fate means for one of its parcels."""
    if not isinstance(fate, Stored) or not fate.refused:
        return fate
    own = {place: error for place, error in fate.refused.items() if place in parcel.by_place}
    return Stored(own) if own else _ALL_STORED
