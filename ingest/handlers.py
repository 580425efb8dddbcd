"""The three ways to push over HTTP: one notification, a batch, or one notification for many devices.

All take the same steps: who is it, read, decode, admit, meter, place, store, answer. 202 is said only when Redis has
the jobs. A batch is answered item by item and in order, whatever became of each; a request as a whole fails only
for reasons that concern all of it. A tenant's rate counts what passed admission and is stored, or may be, and tells of
itself in every answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiohttp import web

from ingest.admission import admit
from ingest.answer import Answer, refused
from ingest.authentication import authenticate
from ingest.body import JSON, NDJSON, media_type, read_body
from ingest.campaign import admit_campaign
from ingest.fates import (
    IN_DOUBT,
    NOT_REACHED,
    refusal_by_rate,
    refusal_for,
    refusal_for_all,
    refusal_of,
    surely_unstored,
)
from ingest.faults import EMPTY_BODY
from ingest.gather import Parcel, Place, Placer, Reason, Stored, pack, placer
from ingest.options import IngestOptions
from ingest.problems import Code
from ingest.randomness import Randomness
from ingest.rate import Allowance
from ingest.results import answer_in_order
from ingest.room import Room
from ingest.schema import Decoded, decode_array, decode_lines, decode_one, decode_request
from ingest.store import Store
from shards.api_key import Scope
from shards.campaign import new_campaign_id
from shards.job import Job, new_ids
from shards.problem import Refusal
from shards.tenant import Tenant

ID_RANDOM_BYTES: Final = 10
# devices of a campaign, and notifications of a batch, that are looked at before others have their turn
ADDRESSED_AT_ONCE: Final = 2_000
ADMITTED_AT_ONCE: Final = 1_000

ONE_IS_JSON: Final = Refusal(Code.CONTENT_TYPE, f"send the notification with Content-Type: {JSON}")
CAMPAIGN_IS_JSON: Final = Refusal(Code.CONTENT_TYPE, f"send the campaign with Content-Type: {JSON}")
BATCH_IS_JSON: Final = Refusal(
    Code.CONTENT_TYPE, f"send the batch with Content-Type: {JSON} (an array) or {NDJSON} (one a line)"
)


class Pushes:
    """The resources /v1/push, /v1/push/batch and /v1/push/campaign. ``now_s`` is Unix time."""

    def __init__(
        self,
        store: Store,
        options: IngestOptions,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._options = options
        self._now_s = now_s
        self._randomness = Randomness()
        self._arriving = Room(options.arriving_bytes_most)
        # by tenant id, each for as long as that is the tenant's record
        self._placers: dict[str, tuple[Tenant, Placer]] = {}

    async def one(self, request: web.BaseRequest, request_id: str) -> Answer:
        """POST /v1/push"""
        return await self._metered(self._one, request, request_id)

    async def batch(self, request: web.BaseRequest, request_id: str) -> Answer:
        """POST /v1/push/batch"""
        return await self._metered(self._batch, request, request_id)

    async def campaign(self, request: web.BaseRequest, request_id: str) -> Answer:
        """POST /v1/push/campaign"""
        return await self._metered(self._campaign, request, request_id)

    async def _metered(self, push: "_Push", request: web.BaseRequest, request_id: str) -> Answer:
        """The answer to a push of whoever it is, with the headers of their rate."""
        tenant = await authenticate(request, self._store.directory, Scope.SEND, int(self._now_s() * 1000))
        if isinstance(tenant, Refusal):
            return self._refuse(tenant, request_id)
        allowance = self._store.meters.of(tenant)
        answer = await push(request, request_id, tenant, allowance)
        if isinstance(answer, Refusal):
            answer = self._refuse(answer, request_id, allowance)
        if allowance is not None:
            answer.add(self._store.meters.headers(allowance))
        return answer

    async def _one(
        self, request: web.BaseRequest, request_id: str, tenant: Tenant, allowance: Allowance | None
    ) -> Answer | Refusal:
        if media_type(request.headers.get("Content-Type", "")) != JSON:
            return ONE_IS_JSON
        read = await self._read(request, tenant)
        if isinstance(read, Refusal):
            return read
        body, tenant = read
        notification = decode_one(body)
        if isinstance(notification, Refusal):
            return notification
        [verdict] = self._admit((notification,), tenant)
        if isinstance(verdict, Refusal):
            return verdict
        if self._store.shards is None:
            return NOT_REACHED
        place = self._placer(tenant, self._store.shards)
        parcel = pack(((place(notification, verdict.device_token), verdict),))
        refused = await self._take_in(parcel, allowance)
        if isinstance(refused, Refusal):
            return refused
        return Answer(202, b'{"id":"%b"}' % verdict.id, request_id)

    async def _batch(
        self, request: web.BaseRequest, request_id: str, tenant: Tenant, allowance: Allowance | None
    ) -> Answer | Refusal:
        media = media_type(request.headers.get("Content-Type", ""))
        if media is None:
            return BATCH_IS_JSON
        read = await self._read(request, tenant)
        if isinstance(read, Refusal):
            return read
        body, tenant = read
        if not body:
            return EMPTY_BODY
        decode = decode_lines if media == NDJSON else decode_array
        coming = decode(body, self._options.batch_items_most, ADMITTED_AT_ONCE)
        if isinstance(coming, Refusal):
            return coming
        notifications: list[Decoded] = []
        verdicts: list[Job | Refusal] = []
        for some in coming:
            notifications += some
            verdicts += self._admit(some, tenant)
            if len(some) == ADMITTED_AT_ONCE:
                # whoever else is being served
                await asyncio.sleep(0)
        stored = await self._store_batch(notifications, verdicts, tenant, allowance)
        if isinstance(stored, Refusal):
            return stored
        results = [each if isinstance(each, Refusal) else each.id for each in stored]
        return await answer_in_order(results, request_id, minimal=_wants_minimal(request))

    async def _campaign(
        self, request: web.BaseRequest, request_id: str, tenant: Tenant, allowance: Allowance | None
    ) -> Answer | Refusal:
        if media_type(request.headers.get("Content-Type", "")) != JSON:
            return CAMPAIGN_IS_JSON
        read = await self._read(request, tenant)
        if isinstance(read, Refusal):
            return read
        body, tenant = read
        decoded = decode_request(body, self._options.campaign_devices_most, ADDRESSED_AT_ONCE)
        if isinstance(decoded, Refusal):
            return decoded
        wanted, tokens = decoded
        if self._store.shards is None:
            return NOT_REACHED
        now_ms = int(self._now_s() * 1000)
        campaign_id = new_campaign_id(now_ms, self._randomness(ID_RANDOM_BYTES))
        place = self._placer(tenant, self._store.shards)
        admitted = admit_campaign(wanted, tenant, campaign_id, now_ms, place)
        if isinstance(admitted, Refusal):
            return admitted
        for some in tokens:
            admitted.address(some)
            # whoever else is being served
            await asyncio.sleep(0)
        parcel = admitted.parcel()
        refused = await self._take_in(parcel, allowance) if parcel.jobs else {}
        if isinstance(refused, Refusal):
            return refused
        results = admitted.results({where: refusal_for(reason) for where, reason in refused.items()})
        return await answer_in_order(results, request_id, minimal=_wants_minimal(request))

    async def _read(self, request: web.BaseRequest, tenant: Tenant) -> tuple[bytes, Tenant] | Refusal:
        """The body, and the tenant as it is then: while the body arrived, its key may have been revoked, and its name
        be another's."""
        options = self._options
        is_here = request.content.is_eof()
        body = await read_body(request, options.body_bytes_most, options.body_s, tenant.id, self._arriving)
        if isinstance(body, Refusal):
            return body
        if is_here:
            return body, tenant
        now_ms = int(self._now_s() * 1000)
        known = await authenticate(request, self._store.directory, Scope.SEND, now_ms)
        return known if isinstance(known, Refusal) else (body, known)

    def _admit(self, notifications: Sequence[Decoded], tenant: Tenant) -> list[Job | Refusal]:
        now_ms = int(self._now_s() * 1000)
        ids = new_ids(now_ms, self._randomness(ID_RANDOM_BYTES * len(notifications)))
        return admit(notifications, tenant, ids, now_ms)

    async def _store_batch(
        self,
        notifications: Sequence[Decoded],
        verdicts: list[Job | Refusal],
        tenant: Tenant,
        allowance: Allowance | None,
    ) -> list[Job | Refusal] | Refusal:
        """Store the admitted jobs; returns the verdicts as they stand then, or why the whole batch failed."""
        if self._store.shards is None:
            return NOT_REACHED
        place = self._placer(tenant, self._store.shards)
        placed = [
            (place(notification, job.device_token), job)
            for notification, job in zip(notifications, verdicts, strict=True)
            if isinstance(job, Job) and not isinstance(notification, Refusal)
        ]
        if not placed:
            return verdicts
        refused = await self._take_in(pack(placed), allowance)
        if isinstance(refused, Refusal):
            return refused
        if not refused:
            return verdicts
        lost = {job.id: refused[where] for where, job in placed if where in refused}
        return [refusal_for(lost[v.id]) if isinstance(v, Job) and v.id in lost else v for v in verdicts]

    async def _take_in(self, parcel: Parcel, allowance: Allowance | None) -> Mapping[Place, Reason] | Refusal:
        """Meter and store; returns the places that took nothing, or why none did. What is refused does not count."""
        if allowance is not None:
            over = refusal_by_rate(await self._store.meters.take(allowance, parcel.jobs))
            if over is not None:
                return over
        fate = await self._store.gatherer.store(parcel)
        if allowance is not None and (unstored := surely_unstored(fate, parcel)):
            self._store.meters.give_back(allowance, unstored)
        if not isinstance(fate, Stored):
            return refusal_of(fate) or IN_DOUBT
        if len(fate.refused) == len(parcel.by_place):
            return refusal_for_all(fate.refused.values())
        return fate.refused

    def _placer(self, tenant: Tenant, shards: int) -> Placer:
        of, place = self._placers.get(tenant.id, (None, None))
        if place is None or of is not tenant:
            place = placer(tenant, shards, self._options.queue_most_tenant)
            self._placers[tenant.id] = tenant, place
        return place

    def _refuse(self, refusal: Refusal, request_id: str, allowance: Allowance | None = None) -> Answer:
        retry_after_s = self._options.retry_after_s
        if allowance is not None and refusal.code is Code.RATE_LIMITED:
            retry_after_s = self._store.meters.retry_after_s(allowance)
        return refused(refusal, request_id, retry_after_s=retry_after_s)


_Push = Callable[[web.BaseRequest, str, Tenant, Allowance | None], Awaitable[Answer | Refusal]]


def _wants_minimal(request: web.BaseRequest) -> bool:
    """Whether ``Prefer: return=minimal`` (RFC 7240) is among the preferences."""
    preferences = ",".join(request.headers.getall("Prefer", ())).replace('"', "").lower().split(",")
    return any(preference.split(";")[0].strip() == "return=minimal" for preference in preferences)
