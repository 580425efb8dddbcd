"""The answers to pushes that Redis has, and to those of a request of which it has not all.

A batch or a campaign is answered push by push and in order. Most are refused for few reasons, so each reason is written
once; and a large answer is written in portions, between which others have their turn.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from ingest.answer import Answer
from ingest.problems import Problem, problem
from shards.problem import Refusal

ANSWERED_AT_ONCE: Final = 5_000
# so many refusals of one request are told in full: a short request can ask for a hundred thousand, at 550 bytes each
TOLD_IN_FULL_MOST: Final = 1_000


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A push that is stored. ``id`` is its apns-id."""

    id: str


class Refused(msgspec.Struct, frozen=True):
    """A push of a batch that was not accepted, and why."""

    error: Problem


class Brief(msgspec.Struct, frozen=True):
    """What a client acts on, of a problem that is not told in full: the table of codes says the rest."""

    status: int
    code: str
    retryable: bool


class RefusedBriefly(msgspec.Struct, frozen=True):
    """A push that was not accepted, after many others of its request that were not either."""

    error: Brief


class BatchCounts(msgspec.Struct, frozen=True):
    """The answer to a batch for those who asked with ``Prefer: return=minimal``."""

    accepted: int
    refused: int


encode: Final = msgspec.json.Encoder().encode


async def answer_in_order(ids: Sequence[bytes | Refusal], request_id: str, *, minimal: bool) -> Answer:
    """``ids``: the apns-id of each push, or why there is none; beyond the first thousand, only briefly why."""
    refused = sum(isinstance(each, Refusal) for each in ids)
    counts = BatchCounts(len(ids) - refused, refused)
    status = 207 if refused else 202
    if minimal:
        return Answer(status, encode(counts), request_id, headers="Preference-Applied: return=minimal\r\n")
    written: list[bytes] = []
    refusals = _Refusals()
    for at in range(0, len(ids), ANSWERED_AT_ONCE):
        if at:
            # whoever else is being served
            await asyncio.sleep(0)
        results = [
            refusals.told(each) if isinstance(each, Refusal) else Accepted(each.decode())
            for each in ids[at : at + ANSWERED_AT_ONCE]
        ]
        written.append(encode(results)[1:-1])
    body = b'{"accepted":%d,"refused":%d,"results":[%b]}' % (
        *msgspec.structs.astuple(counts),
        b",".join(written),
    )
    return Answer(status, body, request_id)


class _Refusals:
    """Those of one answer: the first thousand in full, the others briefly."""

    def __init__(self) -> None:
        self._told = 0
        self._in_full: dict[Refusal, msgspec.Raw] = {}
        self._briefly: dict[str, msgspec.Raw] = {}

    def told(self, refusal: Refusal) -> msgspec.Raw:
        self._told += 1
        if self._told > TOLD_IN_FULL_MOST:
            written = self._briefly.get(refusal.code)
            if written is None:
                whole = problem(refusal)
                brief = RefusedBriefly(Brief(whole.status, whole.code, whole.retryable))
                written = self._briefly[refusal.code] = msgspec.Raw(encode(brief))
            return written
        written = self._in_full.get(refusal)
        if written is None:
            written = self._in_full[refusal] = msgspec.Raw(encode(Refused(problem(refusal))))
        return written
