"""A pool over real TLS against the simulator: what it does with its backlog, its links, its token and its dials."""

import asyncio

from rig import Rig, ids, retried, run, until

from engine.link.link import Phase


def test_a_burst_opens_one_link_and_every_push_is_tried_once() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = rig.pool(most=1)
            claim, pushed = rig.push(pool, 500)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_tried(pushed) == {1}
            assert rig.simulator.ledger.connections_opened == 1
            assert not claim.retries and not claim.burials

    run(scenario)


def test_another_link_is_opened_when_one_is_full_and_never_more_than_the_most() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.1, streams_max=2) as rig:
            pool = rig.pool(most=3)
            claim, pushed = rig.push(pool, 60)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.simulator.ledger.connections_opened == 3
            assert rig.times_tried(pushed) == {1}

    run(scenario)


def test_a_refused_stream_is_sent_again_at_once_and_then_only_after_a_while() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(most=1)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script([{"match": {"attempt": 1}, "then": [{"do": "reset_stream"}]}])
            once, pushed = rig.push(pool, 20)
            await until(lambda: once.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and rig.times_tried(pushed) == {2}
            rig.simulator.script([{"then": [{"do": "reset_stream"}]}])
            always, refused = rig.push(pool, 20)
            await until(lambda: always.left == 0, lambda: pool)
            # a server that refuses everything is not asked as fast as the wire allows
            assert rig.times_tried(refused) == {2}
            assert sorted(retried(always)) == sorted(refused)

    run(scenario)


def test_sending_goes_on_within_the_connections_window_of_65535_bytes() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = rig.pool(most=1)
            claim, pushed = rig.push(pool, 100, payload=b"x" * 4096)
            await until(lambda: claim.left == 0, lambda: pool)
            summary = rig.simulator.ledger.summary()
            assert rig.times_accepted(pushed) == {1}
            # the simulator's h2 counts every byte, and names what is over the window
            assert summary["protocol_errors"] == {}
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_retire_answers_what_is_under_way_and_opens_nothing_more() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05, streams_max=10) as rig:
            pool = rig.pool(most=1)
            claim, _ = rig.push(pool, 50)
            await until(lambda: pool.in_flight() == 10, lambda: pool)
            under_way = claim.left - len(pool.backlog)
            pool.retire()
            pool.retire()
            await until(lambda: not pool.links, lambda: pool)
            assert (under_way, pool.in_flight()) == (10, 0)
            assert claim.left == len(pool.backlog) == 50 - rig.simulator.ledger.summary()["accepted"]
            await asyncio.sleep(0.1)
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_abort_leaves_everything_under_way_in_doubt_and_the_rest_in_the_backlog() -> None:
    async def scenario() -> None:
        async with Rig(streams_max=10) as rig:
            pool = rig.pool(most=1)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script([{"then": [{"do": "silence"}]}])
            claim, pushed = rig.push(pool, 50)
            await until(lambda: pool.in_flight() == 10, lambda: pool)
            pool.abort()
            await until(lambda: not pool.links)
            assert retried(claim) == pushed[:10]
            assert ids(list(pool.backlog)) == pushed[10:]
            assert claim.left == 40

    run(scenario)


def test_a_pool_that_cannot_be_reached_keeps_a_few_jobs_and_puts_the_others_off() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(at=rig.at._replace(port=1), probes=4, redial_first_s=5.0)
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.retries, lambda: pool)
            assert ids(list(pool.backlog)) == pushed[:4]
            assert retried(claim) == pushed[4:]
            now_ms = rig.wall() * 1000
            # not all at once, not before the next dial, and without counting as an attempt
            assert len({retry.due_ms for retry in claim.retries}) > 50
            assert min(retry.due_ms for retry in claim.retries) > now_ms + 1000
            more, _ = rig.push(pool, 10)
            assert (len(more.retries), len(pool.backlog)) == (10, 4)

    run(scenario)


def test_its_text_says_how_it_stands() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool()
            expected = f"<Pool production/TEAM000000/KEYS000000/{pool.key.fingerprint} "
            assert repr(pool) == expected + "0 links, 0 in flight, 0 waiting>"
            rig.push(pool, 3)
            assert repr(pool) == expected + "0 links +1 dialling, 0 in flight, 3 waiting>"
            await until(lambda: not rig.hand.jobs)
            assert repr(pool) == expected + "1 links, 0 in flight, 0 waiting>"
            assert pool.links[0].phase is Phase.OPEN

    run(scenario)
