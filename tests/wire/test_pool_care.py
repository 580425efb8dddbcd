"""Links that fail without ending, and servers that end every link: a pool replaces them, but not without end."""

import asyncio

import pytest
from rig import Rig, retried, run, until


def test_a_link_that_answers_pings_but_no_pushes_is_replaced() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            rig.answer_deadline_s = 0.1
            pool = rig.pool(most=1, steady_s=0.0)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script([{"match": {"connection": 1}, "then": [{"do": "silence"}]}])
            claim, _ = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert len(claim.retries) == 10
            following, pushed = rig.push(pool, 10)
            await until(lambda: following.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


@pytest.mark.parametrize("warm", [1, 0], ids=["after a push", "before any"])
def test_a_connection_that_carries_nothing_any_more_is_given_up_and_replaced(warm: int) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1, silent_s=0.2, steady_s=0.0)
            claim, _ = rig.push(pool, warm)
            await until(lambda: claim.left == 0)
            rig.simulator.script([{"match": {"connection": 1}, "then": [{"do": "black_hole"}]}])
            lost, _ = rig.push(pool, 10)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            assert retried(lost)
            late, _ = rig.push(pool, 5)
            await until(lambda: late.left == 0, lambda: pool)
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_a_slow_answer_is_not_silence_because_pings_are_answered() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1, silent_s=0.2)
            rig.simulator.script([{"then": [{"do": "delay", "delay_s": 0.8}, {"do": "judge"}]}])
            claim, pushed = rig.push(pool, 1)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert not claim.retries

    run(scenario)


def test_a_link_that_answers_500_to_everything_is_replaced() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1, faults_most=5, steady_s=0.0)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script(
                [{"match": {"connection": 1}, "then": [{"do": "answer", "reason": "InternalServerError"}]}]
            )
            broken, _ = rig.push(pool, 10)
            await until(lambda: broken.left == 0 and not pool.links, lambda: pool)
            claim, pushed = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}

    run(scenario)


def test_a_link_without_streams_or_window_is_replaced_while_jobs_wait() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1, stuck_s=0.2, steady_s=0.0)
            rig.simulator.script(
                [
                    {
                        "match": {"connection": 1},
                        "then": [{"do": "judge"}, {"do": "limit_streams", "streams": 0}],
                    }
                ]
            )
            claim, pushed = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_connections_that_end_after_one_push_are_not_replaced_without_end() -> None:
    async def scenario() -> None:
        async with Rig(streams_max=1) as rig:
            pool = rig.pool(most=1, redial_first_s=0.1, apart_s=0.0)
            rig.simulator.script(
                [{"then": [{"do": "judge"}, {"do": "delay", "delay_s": 0}, {"do": "close"}]}]
            )
            rig.push(pool, 100)
            await asyncio.sleep(0.7)
            # delays of 0.05 to 0.1 s, then up to 0.2, 0.4 and 0.8
            assert 2 <= rig.simulator.ledger.connections_opened <= 7

    run(scenario)


@pytest.mark.parametrize(
    "reason", ["ExpiredProviderToken", "UnrelatedKeyIdInToken", "Shutdown", "IdleTimeout"]
)
def test_a_reason_that_condemns_the_connection_replaces_it_once(reason: str) -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = rig.pool(most=1, steady_s=0.0)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script([{"match": {"connection": 1}, "then": [{"do": "answer", "reason": reason}]}])
            claim, _ = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert len(claim.retries) == 100 and not claim.burials
            following, later = rig.push(pool, 100)
            await until(lambda: following.left == 0, lambda: pool)
            assert rig.times_accepted(later) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)
