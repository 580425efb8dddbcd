"""How many links a pool keeps, over real TLS against the simulator."""

from rig import Rig, run, until

from engine.policy.links import LinkOptions


def test_links_that_wait_for_answers_are_joined_by_no_other() -> None:
    async def scenario() -> None:
        async with Rig(streams_max=2) as rig:
            # late before it is full for long enough
            pool = rig.pool(most=4, full_s=0.2, late_s=0.05)
            warm, _ = rig.push(pool, 4)
            await until(lambda: warm.left == 0, lambda: pool)
            rig.simulator.script([{"then": [{"do": "delay", "delay_s": 0.4}, {"do": "judge"}]}])
            claim, pushed = rig.push(pool, 8)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_what_the_others_have_made_needless_is_closed_after_a_long_rest_and_one_stays() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05, streams_max=2) as rig:
            host = rig.host()
            pool = rig.pool(most=3, host=host)
            claim, _ = rig.push(pool, 60)
            await until(lambda: claim.left == 0, lambda: pool)
            assert (host.opened, host.spared, len(pool.links)) == (3, 0, 3)
            rig.clock.ahead_s += LinkOptions().spare_s + 1
            await until(lambda: len(pool.links) == 1, lambda: pool)
            assert (host.opened, host.spared) == (3, 2)
            # no link was missed: none is dialled anew
            again, pushed = rig.push(pool, 2)
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 3

    run(scenario)
