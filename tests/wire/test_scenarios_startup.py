"""S1 to S6: the opening of a connection, and a stream limit that moves."""

import pytest
from rig import Rig, run, until

from engine.link.link import Phase


def test_s1_a_burst_sends_one_push_and_no_second_stream_or_connection_until_it_was_accepted() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            await rig.simulator.play("S1")
            pool = rig.pool(most=4, full_s=0.0, apart_s=0.0)
            claim, pushed = rig.push(pool, 300)
            await until(lambda: len(rig.simulator.ledger) == 1, lambda: pool)
            assert (pool.in_flight(), len(pool.links)) == (1, 1)
            await until(lambda: claim.left == 0, lambda: pool)
            summary = rig.simulator.ledger.summary()
            # each push came once: none was refused for being a second one
            assert rig.times_tried(pushed) == {1} and summary["unanswered"] == {}
            assert summary["accepted"] == 300 and summary["connections_opened"] <= 4

    run(scenario)


def test_s2_pushes_behind_rejected_ones_get_through_on_the_same_connection() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            await rig.simulator.play("S2")
            pool = rig.pool(most=4)
            claim, pushed = rig.push(pool, 50)
            await until(lambda: claim.left == 0, lambda: pool)
            assert [burial.reason for burial in claim.burials] == ["BadDeviceToken"] * 3
            assert rig.times_accepted(pushed[3:]) == {1} and rig.times_tried(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s3_what_a_collapsing_limit_refuses_is_sent_again_once_within_the_new_limit() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.02) as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S3")
            claim, pushed = rig.push(pool, 200)
            # twice in one batch, RST_STREAM names each refused stream: the second must change nothing
            await until(lambda: rig.endings.tally["resent"], lambda: pool)
            [link] = pool.links
            assert link.connection.peer.max_concurrent_streams == 1
            await until(lambda: claim.left == 0, lambda: pool)
            refused = rig.simulator.ledger.summary()["unanswered"]["REFUSED_STREAM"]
            assert rig.times_accepted(pushed) == {1} and rig.times_tried(pushed) == {1, 2}
            assert refused == rig.endings.tally["resent"] >= 100
            assert (rig.simulator.ledger.connections_opened, rig.hand.jobs) == (1, 0)

    run(scenario)


def test_s4_a_pool_without_streams_waits_without_dialling_and_goes_on_on_the_same_connection() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(apart_s=0.0, full_s=0.0)
            await rig.simulator.play("S4", slowness=0.4)
            first, _ = rig.push(pool, 21)
            await until(lambda: first.left == 0 and pool.links[0].room() == 0, lambda: pool)
            waiting, pushed = rig.push(pool, 100)
            assert (waiting.left, len(pool.backlog), pool.links[0].usable) == (100, 100, True)
            await until(lambda: waiting.left == 0, lambda: pool)
            assert rig.times_tried(pushed) == {1} and not waiting.retries
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s5_after_a_goaway_for_too_many_streams_only_those_above_its_id_are_sent_again() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.02) as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S5")
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and rig.times_tried(pushed) == {1}
            where = [rig.simulator.ledger.attempts(each)[0].connection for each in pushed]
            assert where == [1] * 21 + [2] * 79
            assert rig.endings.tally["resent"] == 79 and not claim.retries

    run(scenario)


def test_s6_as_many_pushes_are_under_way_as_apns_allows_and_no_fewer() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            # so slowly that a busy machine sees them all under way
            await rig.simulator.play("S6", slowness=3.0)
            claim, pushed = rig.push(pool, 1200)
            await until(lambda: len(rig.simulator.ledger) >= 1001, lambda: pool)
            assert (pool.in_flight(), len(pool.backlog)) == (1000, 200)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_tried(pushed) == {1}
            assert rig.simulator.ledger.summary()["protocol_errors"] == {}

    run(scenario)


@pytest.mark.parametrize("rtt_s", [0.0, 0.02])
def test_t8_the_stream_limit_is_followed_down_to_one_and_up_again(rtt_s: float) -> None:
    """Who follows SETTINGS only once sends what is refused, or stays at one stream for good."""

    async def scenario() -> None:
        async with Rig(rtt_s=rtt_s) as rig:
            pool = await rig.warm_pool()
            limits = [{"do": "limit_streams", "streams": 1}, {"do": "delay", "delay_s": 0.1}]
            limits.append({"do": "limit_streams", "streams": 1000})
            rig.simulator.script([{"match": {"nth": 50}, "then": limits}])
            claim, pushed = rig.push(pool, 300)
            await until(lambda: claim.left == 0, lambda: pool)
            summary = rig.simulator.ledger.summary()
            assert summary["accepted"] == 301 and summary["repeated"] == 0
            assert rig.times_tried(pushed) <= {1, 2}
            assert (pool.links[0].phase, summary["connections_opened"]) == (Phase.OPEN, 1)
            # throughput is back: all of a burst is under way at once
            await rig.simulator.play("S6", slowness=0.3)
            burst, _ = rig.push(pool, 500)
            assert pool.in_flight() == 500
            await until(lambda: burst.left == 0, lambda: pool)

    run(scenario)
