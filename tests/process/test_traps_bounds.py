"""However much stands in Redis, a worker takes on so much and no more while APNs does not answer: S31, T1 and T10.

What it has taken on is what its claims hold in Redis, and so what is sent again should it be killed.
"""

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from worker_process import SPREAD, Place, Worker, run, until

from shards.job import encode_job
from shards.placement import base_shard
from shards.tenants import DEFAULT_SHARDS

# in the proportions of the defaults, but for a hand that is to be full at once, however slow the answers are
BOUNDS: dict[str, Any] = {
    "in_hand_most": 512,
    "in_hand_least": 512,
    "round_most": 64,
    "round_quick": 16,
    "claim_least": 8,
    "claim_most": 32,
}
IN_HAND_MOST = BOUNDS["in_hand_most"]
TENANTS = 4
BACKLOG = 4_000
# how long an answer takes, and how long one is waited for
ANSWER_S = 3.0


def claimed(place: Place) -> Counter[str]:
    """Tenant → its jobs in claims, at one moment."""
    with place.raw.pipeline(transaction=True) as pipe:
        for key in place.raw.keys("clarion:{*}:claims:*"):
            pipe.lrange(key, 0, -1)
        claims = pipe.execute()
    # a job begins with a byte above 0x80, the head of a run with its lane
    heads = [each.decode().split("|") for claim in claims for each in claim if each[:1] < b"\x80"]
    jobs: Counter[str] = Counter()
    for _, flow, count in heads:
        jobs[flow.partition("/")[0]] += int(count)
    return jobs


async def all_accepted(place: Place, worker: Worker) -> None:
    """Wait until APNs has accepted the whole backlog, and the push of each tenant before it."""
    ledger = place.simulator.ledger
    await until(lambda: ledger.accepted_distinct == BACKLOG + TENANTS, lambda: (ledger, worker))
    await place.settled(worker)


async def warm(place: Place, worker: Worker) -> None:
    """Have a push of each tenant accepted, after which its link takes a thousand."""
    first = []
    for team in range(len(place.teams)):
        first += await place.enqueue(place.jobs(1, team), team)
    await until(lambda: place.accepted(first) == {1: len(first)}, lambda: worker)


async def enqueue(place: Place) -> list[str]:
    """A backlog for the tenants, of each the same."""
    pushed = []
    for team in range(len(place.teams)):
        pushed += await place.enqueue(place.jobs(BACKLOG // len(place.teams), team), team)
    return pushed


def test_s31_while_answers_are_slow_the_hand_is_full_and_no_fuller_and_then_everything_is_sent_once(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=TENANTS) as place:
            worker = await place.worker(lease_s=60.0, **BOUNDS)
            await warm(place, worker)
            await place.simulator.play("S31", slowness=ANSWER_S / 5.0)
            worker.signal(signal.SIGSTOP)
            pushed = await enqueue(place)
            no_answer_before_s = time.monotonic() + ANSWER_S
            worker.signal(signal.SIGCONT)
            most = 0

            def may_be_answered() -> bool:
                nonlocal most
                in_claims = claimed(place).total()
                if time.monotonic() >= no_answer_before_s:
                    return True
                most = max(most, in_claims)
                return False

            await until(may_be_answered, lambda: worker)
            # a flow may hold half of what is free, so four of them leave a third at most
            assert 0.6 * IN_HAND_MOST < most <= IN_HAND_MOST
            place.simulator.script([])
            await all_accepted(place, worker)
            assert place.accepted(pushed) == place.tried(pushed) == {1: BACKLOG}

    run(scenario)


def test_s31_while_no_answer_comes_at_all_what_is_given_up_makes_room_for_no_more_than_itself(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=TENANTS) as place:
            ledger = place.simulator.ledger
            worker = await place.worker(overdue_s=ANSWER_S, **BOUNDS)
            await warm(place, worker)
            place.simulator.script([{"then": [{"do": "silence"}]}])
            pushed = await enqueue(place)
            most = 0

            def given_up() -> bool:
                nonlocal most
                most = max(most, claimed(place).total())
                # a link on which nothing was answered in time is replaced
                return ledger.connections_opened >= TENANTS + 2

            await until(given_up, lambda: worker)
            # in hand; as much again that was given up, in claims of which less than half was; and what was given up
            # since claims were last divided, which is within a second and a half, at half a hand a second here
            assert IN_HAND_MOST / 2 < most <= 4 * IN_HAND_MOST
            place.simulator.script([])
            await all_accepted(place, worker)
            # a machine that is busy may answer too late, and what is in doubt is sent again
            assert place.accepted(pushed)[1] > BACKLOG / 2 and not place.dead()

    run(scenario)


@pytest.mark.parametrize("sick", [1, 4])
def test_t10_tenants_in_a_black_hole_hold_a_part_of_the_hand_and_the_others_are_served(
    redis_url: str, tmp_path: Path, sick: int
) -> None:
    """The pushes of one whose connections lead nowhere pile up, and those of all others wait behind them."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path, tenants=sick + 1) as place:
            *ill, well = place.teams
            place.simulator.script(
                [{"match": {"team": team.team_id}, "then": [{"do": "black_hole"}]} for team in ill]
            )
            stuck = []
            for team in range(sick):
                stuck += await place.enqueue(place.jobs(BACKLOG // sick, team), team)
            worker = await place.worker(**BOUNDS)
            await until(lambda: len(claimed(place)) == sick, lambda: worker)
            # on the very shards on which the others' stand
            base = base_shard(ill[0].tenant, DEFAULT_SHARDS)
            most = 0
            for number in range(20):
                jobs = place.jobs(20, sick)
                shard = (base + number % SPREAD) % DEFAULT_SHARDS
                await place.enqueue_raw(shard, well.tenant, [encode_job(job) for job in jobs])
                pushed = [job.id.decode() for job in jobs]
                await until(lambda pushed=pushed: place.accepted(pushed) == {1: 20}, lambda: worker)
                most = max(most, *(claimed(place)[team.tenant] for team in ill))
            # a flow may hold half as much as is free, which is most when a round begins with an empty hand
            assert most <= IN_HAND_MOST // 2
            assert place.accepted(stuck) == {0: len(stuck)}
            queued = place.queued()
            assert {queued[each] for each in stuck} == {1}

    run(scenario)


def test_t1_what_a_kill_would_repeat_is_bounded_though_some_pushes_are_not_answered(
    redis_url: str, tmp_path: Path
) -> None:
    """One push in fifty that waits for its answer keeps fifty in the claims that were answered long ago."""

    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            ledger = place.simulator.ledger
            worker = await place.worker(**BOUNDS)
            await warm(place, worker)
            place.simulator.script([{"match": {"attempt": 1, "share": 0.02}, "then": [{"do": "silence"}]}])
            pushed = await enqueue(place)
            await until(lambda: len(ledger) > BACKLOG, lambda: worker)
            assert place.accepted(pushed)[1] > 0.9 * BACKLOG
            # in hand, or about to be settled
            await until(lambda: claimed(place).total() <= 2 * IN_HAND_MOST, lambda: worker)

    run(scenario)
