"""S31 to S34 and S37: a service that is slow, out of reach, sparing with its window, or with its connections."""

import asyncio
import time

import pytest
from rig import Rig, run, until

from engine.apns.endpoint import Endpoint
from engine.http2.frames import STREAM_ID_MOST
from engine.link.link import Phase


def test_s31_when_apns_is_slow_no_more_is_under_way_than_its_streams_and_nothing_is_tried_twice() -> None:
    async def scenario() -> None:
        async with Rig(streams_max=50) as rig:
            pool = rig.pool(most=2, apart_s=0.0, full_s=0.0)
            await rig.simulator.play("S31", slowness=0.03)
            claim, pushed = rig.push(pool, 400)
            most = 0
            while claim.left:
                most = max(most, pool.in_flight())
                assert pool.in_flight() + len(pool.backlog) == claim.left
                await asyncio.sleep(0.01)
            assert 50 < most <= 100
            assert rig.times_tried(pushed) == {1} and not claim.retries
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


@pytest.mark.parametrize("trouble", ["refused", "no such name"])
def test_s32_a_host_out_of_reach_is_tried_by_one_pool_for_all_and_ever_more_rarely(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Rig(teams=5) as rig:
            await rig.simulator.play("S32")
            at = rig.at if trouble == "refused" else Endpoint("no-such-host.invalid", 443, b"")
            host = rig.host(at, redial_first_s=0.1)
            pools = [rig.pool(team, host=host, probes=3, apart_s=0.0) for team in range(5)]
            claims = [rig.push(pool, 100, team)[0] for team, pool in enumerate(pools)]
            await asyncio.sleep(0.7)
            dials = caplog.text.count("can't be reached")
            # the first dial of each, and after that delays of 0.05 to 0.1 s, then up to 0.2, 0.4, 0.8 for all of them
            assert 2 <= dials <= 11, caplog.text
            assert rig.hand.jobs <= 15
            assert [len(claim.retries) for claim in claims] == [97] * 5
            if trouble == "refused":
                await rig.simulator.accept("serve")
                await until(lambda: not rig.hand.jobs, lambda: (pools, host))
                assert rig.simulator.ledger.summary()["accepted"] == 15
                assert rig.simulator.ledger.connections_opened == 5

    run(scenario)


def test_s32_a_host_that_is_down_is_found_so_by_one_pool_and_the_others_put_their_jobs_off_too() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            await rig.simulator.play("S32")
            host = rig.host(redial_first_s=5.0)
            first, second = (rig.pool(team, host=host, probes=3) for team in range(2))
            tried, _ = rig.push(first, 100)
            await until(lambda: len(tried.retries) == 97, lambda: (first, host))
            late, _ = rig.push(second, 100, 1)
            assert (len(late.retries), len(second.backlog)) == (97, 3)
            now_ms = rig.wall() * 1000
            assert min(retry.due_ms for retry in late.retries) > now_ms + 1000

    run(scenario)


def test_s33_without_window_pushes_wait_and_the_answers_of_those_under_way_are_heard() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(apart_s=0.0, full_s=0.0)
            await rig.simulator.play("S33", slowness=0.5)
            first, _ = rig.push(pool, 1)
            await until(lambda: first.left == 0, lambda: pool)
            claim, pushed = rig.push(pool, 100, payload=b"x" * 4096)
            await until(lambda: pool.in_flight() == 0, lambda: pool)
            # fifteen of 4,096 bytes are what 65,535 allow
            assert (claim.left, len(pool.backlog), pool.links[0].room() > 1) == (85, 85, True)
            await until(lambda: claim.left == 0, lambda: pool)
            summary = rig.simulator.ledger.summary()
            assert rig.times_tried(pushed) == {1} and summary["protocol_errors"] == {}
            assert summary["connections_opened"] == 1

    run(scenario)


def test_s34_a_link_whose_stream_ids_run_out_is_drained_and_replaced_and_no_push_fails() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.02) as rig:
            pool = await rig.warm_pool()
            [link] = pool.links
            link.connection._writer.next_id = STREAM_ID_MOST - 2 * 10
            claim, pushed = rig.push(pool, 100)
            assert pool.in_flight() == 11 and link.room() == 0
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_tried(pushed) == {1} and not claim.retries
            attempts = [rig.simulator.ledger.attempts(push)[0] for push in pushed]
            assert [attempt.connection for attempt in attempts] == [1] * 11 + [2] * 89
            assert attempts[10].stream_id == STREAM_ID_MOST
            assert link.phase is Phase.CLOSED
            assert rig.simulator.ledger.summary()["protocol_errors"] == {}

    run(scenario)


def test_s34_a_connection_that_refuses_every_stream_from_some_point_on_is_replaced() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(faults_most=4)
            await rig.simulator.play("S34")
            good, _ = rig.push(pool, 50)
            await until(lambda: good.left == 0, lambda: pool)
            for _ in range(10):
                claim, pushed = rig.push(pool, 3)
                await until(lambda claim=claim: claim.left == 0, lambda: pool)
                # those that were refused once may go out again on the next connection at once
                assert rig.times_tried(pushed) <= {1, 2}
            assert not claim.retries and rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_s37_connections_that_end_after_one_push_are_not_replaced_without_end() -> None:
    async def scenario() -> None:
        async with Rig(streams_max=1) as rig:
            pool = rig.pool(most=1, redial_first_s=0.1, apart_s=0.0)
            await rig.simulator.play("S37")
            rig.push(pool, 100)
            await asyncio.sleep(0.7)
            # delays of 0.05 to 0.1 s, then up to 0.2, 0.4 and 0.8
            assert 2 <= rig.simulator.ledger.connections_opened <= 7

    run(scenario)


def test_s37_many_pools_together_dial_their_host_no_faster_than_one_worker_may() -> None:
    async def scenario() -> None:
        async with Rig(teams=12) as rig:
            host = rig.host(dials_burst=4, dials_per_s=5.0)
            await rig.simulator.play("S37")
            began_s = time.monotonic()
            pools = [
                rig.pool(team, host=host, most=1, redial_first_s=0.01, redial_most_s=0.01, apart_s=0.0)
                for team in range(12)
            ]
            for team, pool in enumerate(pools):
                rig.push(pool, 50, team)
            await asyncio.sleep(1.0)
            opened = rig.simulator.ledger.connections_opened
            assert 4 <= opened <= 4 + 5.0 * (time.monotonic() - began_s)
            # nothing waits on a dial that nobody makes
            rig.simulator.script([])
            await until(lambda: all(pool.links for pool in pools) or not rig.hand.jobs, lambda: (host, pools))

    run(scenario)


def test_t9_large_payloads_and_a_long_way_open_more_links_until_the_windows_suffice() -> None:
    """65,535 bytes of window for each round trip bound a link, however many streams are free."""
    size, pushes = 4096, 240
    # only whole bodies are sent
    of_a_link = 65_535 // size

    async def most_under_way(links: int) -> int:
        """Streams that were open at one time."""
        async with Rig(rtt_s=0.1) as rig:
            pool = await rig.warm_pool(most=links)
            claim, pushed = rig.push(pool, pushes, payload=b"x" * size)
            most = 0

            def is_done() -> bool:
                nonlocal most
                most = max(most, pool.in_flight())
                return claim.left == 0

            await until(is_done, lambda: pool)
            assert rig.times_tried(pushed) == {1}
            summary = rig.simulator.ledger.summary()
            assert summary["protocol_errors"] == {} and summary["connections_opened"] == links
            return most

    async def scenario() -> None:
        assert await most_under_way(1) == of_a_link
        assert 2 * of_a_link <= await most_under_way(4) <= 4 * of_a_link

    run(scenario)
