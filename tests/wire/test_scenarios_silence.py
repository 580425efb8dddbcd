"""S20 to S25: connections that say nothing, take nothing, or were forgotten."""

import asyncio
import socket

import pytest
from rig import Rig, retried, run, until


@pytest.mark.parametrize("warm", [1, 0], ids=["after a push", "before any"])
def test_s20_a_connection_that_carries_nothing_any_more_is_given_up_and_replaced(warm: int) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1, silent_s=0.2, steady_s=0.0)
            claim, _ = rig.push(pool, warm)
            await until(lambda: claim.left == 0)
            await rig.simulator.play("S20")
            lost, _ = rig.push(pool, 10)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            assert retried(lost)
            late, pushed = rig.push(pool, 5)
            await until(lambda: late.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_s20_a_worker_that_stood_still_reads_what_has_come_meanwhile_before_it_gives_a_link_up() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(silent_s=10.0)
            claim, pushed = rig.push(pool, 10)
            # as after a pause of the whole process: timers come before sockets
            rig.clock.ahead_s += 25.0
            pool.tend()
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and not claim.retries
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s21_a_connection_that_takes_no_bytes_is_given_up_though_it_speaks() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(blocked_s=0.3, silent_s=60.0)
            transport = pool.links[0]._transport
            assert transport is not None
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            await rig.simulator.play("S21", slowness=0.1)
            first, _ = rig.push(pool, 1)
            await until(lambda: len(rig.simulator.ledger) == 2)
            # from here on nothing is read; without this moment a busy machine may read most of what comes now
            await asyncio.sleep(0.5)
            # more than the kernel holds on both sides, in headers, since the window would stop bodies before
            claim, pushed = rig.push(pool, 999, device_token=b"ab" * 5_000, payload=b"{}")
            assert pool.in_flight() == 1000
            await until(lambda: claim.left == 0 and first.left == 0, lambda: pool)
            assert sorted(retried(claim)) == sorted(pushed)
            following, sent = rig.push(pool, 10)
            await until(lambda: following.left == 0, lambda: pool)
            assert rig.times_accepted(sent) == {1}
            assert rig.simulator.ledger.connections_opened == 2
            await until(lambda: rig.simulator.open_connections == 1)

    run(scenario)


@pytest.mark.parametrize(("streams", "connections"), [(2, 1), (1, 2)])
def test_s22_a_push_never_answered_gives_its_stream_back_and_the_others_go_on(
    streams: int, connections: int
) -> None:
    async def scenario() -> None:
        async with Rig(streams_max=streams, excess_streams="goaway") as rig:
            pool = rig.pool(most=1, steady_s=0.0, overdue_s=1.0)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            await rig.simulator.play("S22")
            claim, pushed = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert retried(claim) == [pushed[1]]
            assert rig.times_accepted([pushed[0], *pushed[2:]]) == {1}
            again, _ = rig.push_again(pool, claim)
            # as many as there are streams: were the place not free at APNs too, it would end the connection
            more, _ = rig.push(pool, 10)
            await until(lambda: again.left == 0 and more.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and not more.retries
            # with one stream it was all that the connection had: nothing spoke for it any more
            assert rig.simulator.ledger.connections_opened == connections

    run(scenario)


@pytest.mark.parametrize("stall", ["tls", "settings"])
def test_s23_a_handshake_that_stalls_is_given_up_and_whoever_waits_for_it_is_released(stall: str) -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            if stall == "tls":
                await rig.simulator.play("S23")
            else:
                rig.simulator.script([{"at": "connect", "then": [{"do": "black_hole"}]}])
            host = rig.host(dial_s=0.2, redial_first_s=0.05, redial_most_s=0.2)
            pools = [rig.pool(team, host=host, probes=2) for team in range(2)]
            claims = [rig.push(pool, 50, team)[0] for team, pool in enumerate(pools)]
            await until(lambda: all(len(claim.retries) == 48 for claim in claims), lambda: (pools, host))
            assert [len(pool.backlog) for pool in pools] == [2, 2]
            rig.simulator.script([])
            await rig.simulator.accept("serve")
            await until(lambda: not rig.hand.jobs, lambda: (pools, host))
            assert rig.simulator.ledger.summary()["accepted"] == 4

    run(scenario)


def test_s24_after_a_rest_a_link_that_was_forgotten_is_given_up_soon() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(silent_s=60.0, rest_s=60.0, woken_s=0.2)
            await rig.simulator.play("S24")
            rig.clock.ahead_s += 120.0
            claim, pushed = rig.push(pool, 5)
            await until(lambda: claim.left == 0, lambda: pool)
            assert retried(claim) == pushed
            again, _ = rig.push_again(pool, claim)
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_s24_after_a_rest_a_link_that_is_well_may_answer_slowly() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(silent_s=60.0, rest_s=60.0, woken_s=0.4)
            await rig.simulator.play("S31", slowness=0.2)
            rig.clock.ahead_s += 120.0
            claim, pushed = rig.push(pool, 5)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_tried(pushed) == {1} and not claim.retries
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s25_a_push_written_while_apns_closed_the_idle_connection_is_sent_again_at_once() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.02) as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S25")
            claim, pushed = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and not claim.retries
            assert (rig.endings.tally["resent"], rig.simulator.ledger.connections_opened) == (10, 2)

    run(scenario)


def test_a_link_that_answers_pings_but_no_pushes_is_replaced() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(overdue_s=0.1)
            rig.simulator.script([{"match": {"old": True}, "then": [{"do": "silence"}]}])
            claim, _ = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert len(claim.retries) == 10
            following, pushed = rig.push(pool, 10)
            await until(lambda: following.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_a_link_that_reads_nothing_can_be_closed_in_order_too() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(blocked_s=60.0, silent_s=60.0, overdue_s=0.1)
            await rig.simulator.play("S21", slowness=0.1)
            claim, _ = rig.push(pool, 10)
            # past their deadline, and the link with them: it says goodbye to nobody
            await until(lambda: claim.left == 0 and not pool.links, lambda: pool)
            await asyncio.sleep(0)
            await until(lambda: rig.simulator.open_connections == 0)

    run(scenario)
