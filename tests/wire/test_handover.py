"""A shard goes from one worker to another while pushes come: each of them is in the hands of one."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from rig import Rig, ids, job, run, until
from test_feeder import OneRoute

from engine.options import EngineOptions
from engine.worker.dealer import Dealer
from engine.worker.feeder import Feeder
from engine.worker.leases import HASTE_S, Leases
from engine.worker.settler import Settler
from shards.campaigns import Records
from shards.claim import Claimed, Fenced, Holding
from shards.errors import StoreRefused
from shards.job import encode_job
from shards.lanes import Lane
from shards.queue import Batch, Queue
from shards.redis import ScriptConnection

SHARDS = 2
ANSWER_S = 0.3


class Slow(Queue):
    """Answers to claims wait on their way until it is ``clear``."""

    def __init__(self, connection: ScriptConnection) -> None:
        super().__init__(connection)
        self.clear = asyncio.Event()
        self.clear.set()
        self.asked = False
        # shards whose answers with jobs wait
        self.waiting = 0

    async def claim(
        self, wanted: Sequence[tuple[Holding, str, int]], **how: Any
    ) -> list[Claimed | Fenced | StoreRefused]:
        self.asked = True
        answers = await super().claim(wanted, **how)
        self.waiting = sum(isinstance(answer, Claimed) and bool(answer.runs) for answer in answers)
        await self.clear.wait()
        self.asked, self.waiting = False, 0
        return answers


class Leaving(Queue):
    """Answers to releases are so late that those to earlier claims come before them."""

    def __init__(self, connection: ScriptConnection, released: Callable[[], None]) -> None:
        super().__init__(connection)
        self._released = released

    async def release(self, holdings: Sequence[Holding]) -> list[Holding | Fenced]:
        answers = await super().release(holdings)
        if holdings:
            self._released()
            await asyncio.sleep(HASTE_S)
        return answers


class Worker:
    """The parts of a worker that shards and pushes pass through, on a rig of its own."""

    def __init__(self, url: str, name: str, rig: Rig) -> None:
        self.connections = [ScriptConnection(url) for _ in range(3)]
        self.claiming = Slow(self.connections[0])
        self.hand = rig.hand
        settler = Settler(Queue(self.connections[1]), rig.hand.forget)
        rig.hand._finished = settler.add
        self.leases = Leases(
            Leaving(self.connections[2], self.claiming.clear.set),
            SHARDS,
            name,
            [],
            6.0,
            rig.hand,
            gained=lambda holding: self.feeder.gain(holding),
            yielded=lambda holding: self.feeder.let_go(holding),
            lost=rig.hand.lose,
            reclaimed=rig.endings.reclaimed,
        )
        router: Any = OneRoute(rig.pool(most=1), lambda: None)
        self.feeder = Feeder(
            self.claiming,
            rig.hand,
            router,
            rig.fates,
            Dealer(router, rig.endings, rig.waits, Records(self.connections[0])),
            EngineOptions(),
            is_ours=self.leases.holds,
            doubted=self.leases.doubt,
        )
        self._parts = (self.leases, self.feeder, settler)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Worker":
        self._tasks = [asyncio.create_task(part.run()) for part in self._parts]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for connection in self.connections:
            await connection.close()


def test_a_shard_is_not_handed_over_while_a_claim_of_it_is_on_its_way_to_us(redis_url: str) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            rigs = [await stack.enter_async_context(Rig()) for _ in range(2)]
            for rig in rigs:
                rig.simulator.script([{"then": [{"do": "delay", "delay_s": ANSWER_S}, {"do": "judge"}]}])
            connection = ScriptConnection(redis_url)
            stack.push_async_callback(connection.close)
            a = await stack.enter_async_context(Worker(redis_url, "a", rigs[0]))
            await until(lambda: "0 of 2" in repr(a.feeder) and not a.claiming.asked, lambda: a.feeder)
            a.claiming.clear.clear()
            pushes = [job(rigs[0].teams[0]) for _ in range(SHARDS)]
            await Queue(connection).enqueue(
                [Batch(shard, Lane.HIGH, "tenant-0", [encode_job(push)]) for shard, push in enumerate(pushes)]
            )
            for shard in range(SHARDS):
                a.feeder.ring(shard)
            await until(lambda: a.claiming.waiting == SHARDS, lambda: a.feeder)
            b = await stack.enter_async_context(Worker(redis_url, "b", rigs[1]))
            # the shard is to go, and the beat that would release it goes by
            await until(lambda: "of 1 shards" in repr(a.feeder), lambda: a.leases)
            await asyncio.sleep(2 * HASTE_S)
            a.claiming.clear.set()
            await until(lambda: len(b.leases.held) == SHARDS // 2, lambda: (a.leases, b.leases))
            await until(lambda: not a.hand.claims and not b.hand.claims, lambda: (a.hand, b.hand))
            await asyncio.sleep(2 * ANSWER_S)
            tries = [
                sum(rig.simulator.ledger.attempt_count(each) for rig in rigs)
                for each in ids([(push, None) for push in pushes])
            ]
            assert tries == [1] * SHARDS

    run(scenario)
