"""The verbs of `shards/queue.py` over claims that are ranges. As much of them as measuring and checking needs.

Besides the keys of a shard there is one hash for each lane: flow → which of its list is ready (``lua/spans.lua``). The
index of claims is a hash of claim id → ranges, where it is a set, and there are no lists of claims.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from shards.claim import Fenced, Holding, Reclaimed, Run, Settlement
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import (
    CLAIM_MOST,
    DEAD_LENGTH,
    DEATHS_KEPT,
    DEATHS_KEPT_S,
    DEATHS_MOST,
    SLOT_MS,
    SLOTS,
    Batch,
)
from shards.redis import Call, Script, ScriptConnection

_LUA: Final = Path(__file__).parent / "lua"
_ENGINE: Final = "#!lua flags=allow-oom\n"


class Span(NamedTuple):
    """So many jobs of a flow's list, by the position of the first."""

    lane: str
    flow: str
    first: int
    number: int


class Ranged(NamedTuple):
    """The answer to a claim; ``spans`` are where its runs lie."""

    holding: Holding
    claim_id: str
    runs: list[Run]
    spans: list[Span]
    asleep: bool


@cache
def ranged_script(verb: str) -> Script:
    """The script ``lua/<verb>.lua`` behind what all of them know of spans."""
    own, shared = (_LUA / f"{verb}.lua").read_text(), (_LUA / "spans.lua").read_text()
    first = _ENGINE if own.startswith(_ENGINE) else ""
    text = (first + shared + own.removeprefix(first)).encode()
    return Script(verb, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def spans_key(shard: int, lane: Lane) -> str:
    return f"{shard_keys(shard).ring(lane)}-spans"


def spans_of(text: str) -> list[Span]:
    """The ranges of a claim, as Redis has them."""
    found = []
    for each in text.split():
        lane, flow, first, number = each.split("|")
        found.append(Span(lane, flow, int(first), int(number)))
    return found


def _spelled(spans: Sequence[Span]) -> str:
    return " ".join("|".join(map(str, span)) for span in spans)


class RangeQueue:
    """Like ``shards.queue.Queue``, whose ``acquire`` and ``release`` serve both."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    async def enqueue(self, batches: Sequence[Batch]) -> list[Any]:
        calls = []
        for shard, lane, flow, jobs, most, _ in batches:
            keys = shard_keys(shard)
            other = Lane.LOW if lane is Lane.HIGH else Lane.HIGH
            names = (
                *(keys.ring(lane), keys.ready(lane, flow), keys.unrung, keys.bell, keys.depth),
                *(keys.waiting, keys.ready(other, flow), spans_key(shard, lane), spans_key(shard, other)),
            )
            calls.append(Call(ranged_script("enqueue"), names, [flow, most, 0, *jobs]))
        return [None if answer == 1 else answer for answer in await self._connection.run(calls)]

    async def claim(
        self,
        wanted: Sequence[tuple[Holding, str, int]],
        *,
        quantum: int,
        low_share: float,
        rooms: Sequence[tuple[str, int]] = (),
    ) -> list[Ranged | Fenced]:
        calls = []
        limited = [word for flow, most in rooms for word in (flow, most)]
        for (shard, fence), claim_id, most in wanted:
            keys = shard_keys(shard)
            high, low = spans_key(shard, Lane.HIGH), spans_key(shard, Lane.LOW)
            names = (
                *(keys.fence, keys.high, keys.low, keys.claims, high, keys.unrung),
                *(keys.depth, keys.rules, keys.budgets, keys.turns, low),
            )
            args = [fence, claim_id, min(most, CLAIM_MOST), quantum, str(low_share), *limited]
            calls.append(Call(ranged_script("claim"), names, args))
        return [
            _ranged(holding, claim_id, answer)
            for (holding, claim_id, _), answer in zip(wanted, await self._run(calls), strict=True)
        ]

    async def settle(
        self, settlements: Sequence[Settlement], rests: Mapping[str, Sequence[Span]] | None = None
    ) -> list[Holding | Fenced]:
        """``rests``: by the id of the claim that takes them over, the spans that have no fate yet."""
        calls = []
        for (shard, fence), claim_id, retries, burials, rest_id, *_ in settlements:
            keys = shard_keys(shard)
            rest = _spelled((rests or {}).get(rest_id, ()))
            args: list[bytes | str | int] = [fence, claim_id, DEAD_LENGTH, rest_id, rest, len(retries)]
            for due_ms, lane, flow, job in retries:
                args += (due_ms, f"{lane}|{flow}|".encode() + job)
            for burial in burials:
                args += burial
            names = (
                *(keys.fence, keys.claims, keys.waiting, keys.dead, keys.dead_tokens, keys.high, keys.low),
                *(spans_key(shard, Lane.HIGH), spans_key(shard, Lane.LOW)),
            )
            calls.append(Call(ranged_script("settle"), names, args))
        return [
            Fenced(each.holding) if answer == -1 else each.holding
            for each, answer in zip(settlements, await self._run(calls), strict=True)
        ]

    async def promote(self, shards: Sequence[int], now_ms: int, most: int = 1_000) -> list[tuple[int, int]]:
        calls = []
        for shard in shards:
            keys = shard_keys(shard)
            names = (
                *(keys.waiting, keys.high, keys.low, keys.depth),
                *(spans_key(shard, Lane.HIGH), spans_key(shard, Lane.LOW)),
            )
            calls.append(Call(ranged_script("promote"), names, [now_ms, most]))
        return [(promoted, due_ms) for promoted, due_ms in await self._run(calls)]

    async def reclaim(self, holding: Holding, *, sent: bool = True) -> Reclaimed | Fenced:
        keys = shard_keys(holding.shard)
        names = (
            *(keys.fence, keys.claims, keys.high, keys.low, keys.waiting, keys.dead, keys.deaths),
            *(keys.once, keys.depth),
            *(spans_key(holding.shard, Lane.HIGH), spans_key(holding.shard, Lane.LOW)),
        )
        args: list[bytes | str | int] = [
            *(holding.fence, int(sent), DEATHS_MOST, SLOT_MS, DEAD_LENGTH, DEATHS_KEPT, DEATHS_KEPT_S),
            *(SLOTS, holding.shard % SLOTS),
        ]
        total, left = 0, 1
        while left:
            [(jobs, left)] = await self._run([Call(ranged_script("reclaim"), names, args)])
            if jobs == -1:
                return Fenced(holding)
            total += jobs
        return Reclaimed(total)

    async def _run(self, calls: list[Call]) -> list[Any]:
        answers = await self._connection.run(calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _ranged(holding: Holding, claim_id: str, answer: list[Any]) -> Ranged | Fenced:
    if answer[0] == -1:
        return Fenced(holding)
    runs, spans = [], []
    at = 1
    while at < len(answer):
        [span] = spans_of(answer[at].decode())
        end = at + 1 + span.number
        spans.append(span)
        runs.append(Run(span.lane, span.flow, answer[at + 1 : end]))
        at = end
    return Ranged(holding, claim_id, runs, spans, answer[0] > 0)
