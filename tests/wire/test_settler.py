"""The settler with a store that refuses: what was refused is repeated, and all that comes after it, in their order."""

import asyncio
from collections.abc import Sequence
from typing import Any

from rig import run

from engine.worker.hand import Claim
from engine.worker.settler import Settler
from shards.claim import Holding, Settlement
from shards.errors import StoreRefused

HOLDING = Holding(0, "1.a")
REFUSED = StoreRefused("Redis refused: READONLY")


class Store:
    """A queue that gives these answers to the settlements of each call, and later takes them all."""

    def __init__(self, *answers: list[Any]) -> None:
        self.calls: list[list[str]] = []
        self._answers = list(answers)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Any]:
        self.calls.append([each.claim_id for each in settlements])
        return self._answers.pop(0) if self._answers else [each.holding for each in settlements]


def test_what_comes_after_a_refused_settlement_is_repeated_with_it_in_order() -> None:
    async def scenario() -> None:
        store = Store([HOLDING, REFUSED, HOLDING])
        settled: list[str] = []
        settler = Settler(store, lambda claim: settled.append(claim.claim_id))  # type: ignore[arg-type]
        task = asyncio.create_task(settler.run())
        for number in range(3):
            settler.add(Claim(HOLDING, f"1.a:{number}", 0))
        await settler.drained()
        # the last one may go on from the one that was refused, which must stand first
        assert store.calls == [["1.a:0", "1.a:1", "1.a:2"], ["1.a:1", "1.a:2"]]
        assert settled == ["1.a:0", "1.a:1", "1.a:2"]
        task.cancel()

    run(scenario)
