"""Links that fail without ending, and servers that end every link: a pool replaces them, but not without end."""

import pytest
from rig import Rig, run, until

FIRST_S = 0.05


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


def test_a_link_without_streams_is_replaced_also_when_its_peer_goes_on_speaking() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(stuck_s=0.2)
            [first] = pool.links
            no_stream = b"\0\0\6\4\0\0\0\0\0" + b"\0\3\0\0\0\0"
            first.data_received(no_stream)
            claim, pushed = rig.push(pool, 10)

            def speak() -> bool:
                if first in pool.links:
                    first.data_received(b"\0\0\x08\6\0\0\0\0\0" + b"12345678")
                return claim.left == 0

            await until(speak, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


@pytest.mark.parametrize("reason", ["TooManyProviderTokenUpdates", "Shutdown", "IdleTimeout"])
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


def test_links_that_end_soon_are_replaced_ever_later_until_one_was_of_use_for_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1, redial_first_s=FIRST_S, steady_s=60.0, silent_s=600.0)

            async def use_a_link() -> None:
                claim, _ = rig.push(pool, 1)
                await until(lambda: claim.left == 0, lambda: pool)

            async def end_it() -> None:
                pool.links[0].abort()
                await until(lambda: not pool.links, lambda: pool)

            for _ in range(3):
                await use_a_link()
                await end_it()
            await use_a_link()
            rig.clock.ahead_s += 60.0
            await use_a_link()
            # the end of this one says nothing, and that of the next is the first of its kind
            await end_it()
            await use_a_link()
            await end_it()

    run(scenario)
    delays_s = [record.args[1] for record in caplog.records if "next try" in record.msg]
    # in units of the first delay; half of each is chance
    units = [delay_s / FIRST_S for delay_s in delays_s]
    assert [0.5 <= unit <= 1 for unit in units] == [True, False, False, True], units
    assert 1 <= units[1] <= 2 <= units[2] <= 4, units
