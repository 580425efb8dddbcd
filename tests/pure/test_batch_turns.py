"""A large request gives the loop back while it is worked at, and what it is answered is whole all the same."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import msgspec
import pytest
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from ingest.answer import Answer
from ingest.gather import Gatherer
from ingest.handlers import ADDRESSED_AT_ONCE, ADMITTED_AT_ONCE, Pushes
from ingest.options import IngestOptions
from ingest.problems import Code
from ingest.results import ANSWERED_AT_ONCE, TOLD_IN_FULL_MOST
from ingest.store import Store
from shards.api_key import ApiKey
from shards.credential import Credential
from shards.queue import Batch
from shards.tenant import Tenant

TENANT = Tenant("acme", ("com.acme.app",), (Credential("KEY", "TEAM", "KEY", b"sealed"),))
GOOD = b'{"device_token":"ab","topic":"com.acme.app","payload":{"aps":{}}}'
JSON, NDJSON = "application/json", "application/x-ndjson"
# those of the flight and of the test
FEW_TURNS = 8


class Queues:
    """Takes whatever comes."""

    async def enqueue(self, batches: Sequence[Batch], shard_most: int = 0) -> list[Any]:
        return [None] * len(batches)


class Keys:
    """Everybody is the one tenant."""

    async def by_api_key(self, secret: str) -> tuple[Tenant, ApiKey]:
        return TENANT, ApiKey("acme", "clarion_0")


def store() -> Store:
    gatherer = Gatherer(Queues(), jobs_most=1_000_000, bytes_most=1 << 30)
    meters = SimpleNamespace(of=lambda tenant: None)
    return cast("Store", SimpleNamespace(directory=Keys(), shards=64, gatherer=gatherer, meters=meters))


def answer_to(path: str, body: bytes, media: str = JSON, prefer: str = "") -> tuple[int, Any, int]:
    """The status and the document that are answered, and how many turns others had meanwhile."""

    async def run() -> tuple[Answer, int]:
        stream = StreamReader(mock.Mock(), 1 << 20, loop=asyncio.get_running_loop())
        stream.feed_data(body)
        stream.feed_eof()
        headers = {"Authorization": "Bearer x", "Content-Type": media, "Prefer": prefer}
        request = make_mocked_request("POST", path, headers, payload=stream)
        pushes = Pushes(store(), IngestOptions(redis_url="redis://127.0.0.1"))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        waiting = asyncio.create_task(others())
        await asyncio.sleep(0)
        answer = await (pushes.batch if path.endswith("batch") else pushes.campaign)(request, "id")
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        return answer, turns

    answer, turns = asyncio.run(run())
    return answer.status, msgspec.json.decode(answer._text), turns


def batch(items: Sequence[bytes], media: str = JSON) -> tuple[str, bytes, str]:
    body = b"\n".join(items) if media == NDJSON else b"[" + b",".join(items) + b"]"
    return "/v1/push/batch", body, media


@pytest.mark.parametrize("media", [JSON, NDJSON])
@pytest.mark.parametrize("last", [GOOD, b"1", GOOD.replace(b"aps", b"\\ud800")])
def test_a_batch_is_decoded_and_admitted_in_portions(media: str, last: bytes) -> None:
    size = ADMITTED_AT_ONCE * 9
    status, document, turns = answer_to(*batch([GOOD] * (size - 1) + [last], media))
    accepted = size - (last is not GOOD)
    assert (status, document["accepted"], document["refused"]) == (
        202 if last is GOOD else 207,
        accepted,
        size - accepted,
    )
    assert len(document["results"]) == size
    assert ("error" in document["results"][-1]) is (last is not GOOD)
    assert turns > size // ADMITTED_AT_ONCE


def test_tokens_that_are_none_are_decoded_and_answered_in_portions() -> None:
    size = ANSWERED_AT_ONCE * 5
    fields = {"topic": "com.acme.app", "payload": {"aps": {}}, "device_tokens": [1] * (size - 1) + ["ab"]}
    status, document, turns = answer_to("/v1/push/campaign", json.dumps(fields).encode())
    assert (status, document["accepted"], document["refused"]) == (207, 1, size - 1)
    errors = [result["error"] for result in document["results"][:-1]]
    pointers = [error["errors"][0]["pointer"] for error in errors[:TOLD_IN_FULL_MOST]]
    assert pointers == [f"/device_tokens/{number}" for number in range(TOLD_IN_FULL_MOST)]
    assert {error["code"] for error in errors} == {Code.WRONG_TYPE}
    assert turns > size // ADDRESSED_AT_ONCE + size // ANSWERED_AT_ONCE - 1


def test_a_small_batch_does_not_wait_for_others() -> None:
    for media in (JSON, NDJSON):
        status, document, turns = answer_to(*batch([GOOD, b"1"] * 20, media), "return=minimal")
        assert (status, document) == (207, {"accepted": 20, "refused": 20})
        assert turns < FEW_TURNS
