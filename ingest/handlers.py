"""The two ways to push over HTTP: one notification, or a batch.

Both take the same steps: who is it, read, decode, admit, place, store, answer. 202 is said only when Redis has
the jobs. A batch is answered item by item and in order, whatever became of each; a request as a whole fails only
for reasons that concern all of it.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Final, assert_never

import msgspec
from aiohttp import web

from ingest.admission import admit
from ingest.answer import Answer, refused
from ingest.body import JSON, NDJSON, media_type, read_body
from ingest.gather import Fate, Stored, TurnedAway, Unstored, pack, placer
from ingest.options import IngestOptions
from ingest.problems import Code, Problem, Refusal, problem
from ingest.schema import EMPTY_BODY, Decoded, decode_array, decode_lines, decode_one
from ingest.store import Store
from shards.errors import NotFound, StoreError
from shards.job import Job, new_ids
from shards.tenant import Tenant

API_KEY_LENGTH_MOST: Final = 256
ID_RANDOM_BYTES: Final = 10

KEY_MISSING: Final = Refusal(Code.KEY_MISSING, "send one header Authorization: Bearer <api key>")
KEY_UNKNOWN: Final = Refusal(
    Code.KEY_UNKNOWN, "the key is nobody's; check that it is whole, or make a new one for the tenant"
)
ONE_IS_JSON: Final = Refusal(Code.CONTENT_TYPE, f"send the notification with Content-Type: {JSON}")
BATCH_IS_JSON: Final = Refusal(
    Code.CONTENT_TYPE, f"send the batch with Content-Type: {JSON} (an array) or {NDJSON} (one a line)"
)
NOT_REACHED: Final = Refusal(
    Code.STORE_UNAVAILABLE, "Redis can't be reached; nothing was accepted, send it again"
)
IN_DOUBT: Final = Refusal(
    Code.STORE_IN_DOUBT,
    "Redis did not answer in time: the pushes may have been accepted or not. Send them again only if a device "
    "that gets one twice does no harm (a collapse_id helps)",
)
NOT_TAKEN: Final = Refusal(
    Code.STORE_REFUSED,
    "Redis takes no writes at the moment (out of memory or read only); it was not accepted",
)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A push that is stored. ``id`` is its apns-id."""

    id: str


class Refused(msgspec.Struct, frozen=True):
    """A notification of a batch that was not accepted, and why."""

    error: Problem


class BatchCounts(msgspec.Struct, frozen=True):
    """The answer to a batch for those who asked with ``Prefer: return=minimal``."""

    accepted: int
    refused: int


class BatchAnswer(msgspec.Struct, frozen=True):
    """The answer to a batch: one result for each notification, in order."""

    accepted: int
    refused: int
    results: Sequence[Accepted | Refused]


_encode: Final = msgspec.json.Encoder().encode


class Pushes:
    """The resources /v1/push and /v1/push/batch. ``now_s`` is Unix time."""

    def __init__(
        self,
        store: Store,
        options: IngestOptions,
        *,
        now_s: Callable[[], float] = time.time,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._options = options
        self._now_s = now_s
        self._randomness = randomness

    async def one(self, request: web.BaseRequest, request_id: str) -> Answer:
        """POST /v1/push"""
        tenant = await self._who(request)
        if isinstance(tenant, Refusal):
            return self._refuse(tenant, request_id)
        if media_type(request.headers.get("Content-Type", "")) != JSON:
            return self._refuse(ONE_IS_JSON, request_id)
        body = await read_body(request, self._options.body_bytes_most)
        if isinstance(body, Refusal):
            return self._refuse(body, request_id)
        notification = decode_one(body)
        if isinstance(notification, Refusal):
            return self._refuse(notification, request_id)
        [verdict] = self._admit((notification,), tenant)
        if isinstance(verdict, Refusal):
            return self._refuse(verdict, request_id)
        if self._store.shards is None:
            return self._refuse(NOT_REACHED, request_id)
        place = placer(tenant, self._store.shards)
        fate = await self._store.gatherer.store(pack(((place(notification, verdict), verdict),)))
        refusal = refusal_of(fate)
        if refusal is not None:
            return self._refuse(refusal, request_id)
        return Answer(202, b'{"id":"%b"}' % verdict.id, request_id)

    async def batch(self, request: web.BaseRequest, request_id: str) -> Answer:
        """POST /v1/push/batch"""
        tenant = await self._who(request)
        if isinstance(tenant, Refusal):
            return self._refuse(tenant, request_id)
        media = media_type(request.headers.get("Content-Type", ""))
        if media is None:
            return self._refuse(BATCH_IS_JSON, request_id)
        body = await read_body(request, self._options.body_bytes_most)
        if isinstance(body, Refusal):
            return self._refuse(body, request_id)
        if not body:
            return self._refuse(EMPTY_BODY, request_id)
        decode = decode_lines if media == NDJSON else decode_array
        notifications = decode(body, self._options.batch_items_most)
        if isinstance(notifications, Refusal):
            return self._refuse(notifications, request_id)
        verdicts = self._admit(notifications, tenant)
        stored = await self._store_batch(notifications, verdicts, tenant)
        if isinstance(stored, Refusal):
            return self._refuse(stored, request_id)
        return _batch_answer(stored, request_id, minimal=_wants_minimal(request))

    async def _who(self, request: web.BaseRequest) -> Tenant | Refusal:
        """The tenant whose API key the request shows."""
        shown = request.headers.getall("Authorization", ())
        if len(shown) != 1:
            return KEY_MISSING
        scheme, _, key = shown[0].partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            return KEY_MISSING
        if len(key) > API_KEY_LENGTH_MOST:
            return KEY_UNKNOWN
        try:
            return await self._store.directory.by_api_key(key) or KEY_UNKNOWN
        except NotFound:
            # the key outlived its tenant
            return KEY_UNKNOWN
        except StoreError:
            return NOT_REACHED

    def _admit(self, notifications: Sequence[Decoded], tenant: Tenant) -> list[Job | Refusal]:
        now_ms = int(self._now_s() * 1000)
        ids = new_ids(now_ms, self._randomness(ID_RANDOM_BYTES * len(notifications)))
        return admit(notifications, tenant, ids, now_ms)

    async def _store_batch(
        self, notifications: Sequence[Decoded], verdicts: list[Job | Refusal], tenant: Tenant
    ) -> list[Job | Refusal] | Refusal:
        """Store the admitted jobs; returns the verdicts as they stand then, or why the whole batch failed."""
        if self._store.shards is None:
            return NOT_REACHED
        place = placer(tenant, self._store.shards)
        placed = [
            (place(notification, job), job)
            for notification, job in zip(notifications, verdicts, strict=True)
            if isinstance(job, Job) and not isinstance(notification, Refusal)
        ]
        if not placed:
            return verdicts
        fate = await self._store.gatherer.store(pack(placed))
        if not isinstance(fate, Stored):
            return refusal_of(fate) or IN_DOUBT
        if not fate.refused:
            return verdicts
        lost = {job.id for where, job in placed if where in fate.refused}
        if len(lost) == len(placed):
            return NOT_TAKEN
        return [NOT_TAKEN if isinstance(v, Job) and v.id in lost else v for v in verdicts]

    def _refuse(self, refusal: Refusal, request_id: str) -> Answer:
        return refused(refusal, request_id, retry_after_s=self._options.retry_after_s)


def refusal_of(fate: Fate) -> Refusal | None:
    """What a parcel's fate means for a request that needs all of it stored; None if it is."""
    match fate:
        case Stored(refused=none) if not none:
            return None
        case Stored():
            return NOT_TAKEN
        case Unstored(in_doubt=in_doubt):
            return IN_DOUBT if in_doubt else NOT_REACHED
        case TurnedAway(waiting_jobs=jobs, waiting_bytes=size):
            return Refusal(
                Code.TOO_BUSY,
                f"{jobs} pushes ({size} bytes) wait for Redis, and no more may; nothing was accepted, send it later",
            )
        case _:
            assert_never(fate)


def _batch_answer(verdicts: list[Job | Refusal], request_id: str, *, minimal: bool) -> Answer:
    results: list[Accepted | Refused] = []
    accepted = 0
    for verdict in verdicts:
        if isinstance(verdict, Refusal):
            results.append(Refused(problem(verdict)))
        else:
            accepted += 1
            results.append(Accepted(verdict.id.decode()))
    refused_count = len(verdicts) - accepted
    status = 207 if refused_count else 202
    if minimal:
        counts = BatchCounts(accepted, refused_count)
        return Answer(status, _encode(counts), request_id, headers="Preference-Applied: return=minimal\r\n")
    return Answer(status, _encode(BatchAnswer(accepted, refused_count, results)), request_id)


def _wants_minimal(request: web.BaseRequest) -> bool:
    """Whether ``Prefer: return=minimal`` (RFC 7240) is among the preferences."""
    preferences = ",".join(request.headers.getall("Prefer", ())).replace('"', "").lower().split(",")
    return any(preference.split(";")[0].strip() == "return=minimal" for preference in preferences)
