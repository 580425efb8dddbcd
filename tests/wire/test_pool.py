"""A pool over real TLS against the simulator: what it does with its backlog, its links, its token and its dials."""

import asyncio

from rig import Rig, ids, retried, run, until

from engine.apns.bearer import GRID_S
from engine.link.link import Phase
from loadtest.simulator.server import Device


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


def test_a_tenant_whose_first_pushes_are_all_rejected_gets_through_with_the_next() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            rig.simulator.tell(Device(token="bad0", fate="bad"))
            pool = rig.pool()
            bad, _ = rig.push(pool, 5, device_token=b"bad0")
            good, pushed = rig.push(pool, 20)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            assert [burial.reason for burial in bad.burials] == ["BadDeviceToken"] * 5
            assert rig.times_accepted(pushed) == {1}
            assert (good.left, rig.simulator.ledger.connections_opened) == (0, 1)

    run(scenario)


def test_a_link_moves_to_a_new_token_when_its_own_is_fifty_minutes_old_and_apns_does_not_mind() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            # just before the grid steps, when a token is soonest worn out
            rig.wall.ahead_s -= rig.wall() % GRID_S + 30.0
            pool = rig.pool()
            for _ in range(40):
                claim, pushed = rig.push(pool, 3)
                await until(lambda held=claim: held.left == 0, lambda: pool)
                assert rig.times_accepted(pushed) == {1}
                rig.wall.ahead_s += 5 * 60.0
            summary = rig.simulator.ledger.summary()
            assert summary["refused"] == {} and summary["protocol_errors"] == {}
            assert summary["connections_opened"] == 1
            # 200 minutes: the first token, and one each 25 to 50 minutes
            assert 4 <= summary["bearers_per_key"][rig.teams[0].key_id] <= 8

    run(scenario)


def test_what_a_goaway_disowns_is_sent_once_more_elsewhere_and_the_rest_is_awaited() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = rig.pool(most=1)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            # a second after the probe: the answer is still under way, and so are nine pushes behind it
            rig.simulator.script(
                [
                    {
                        "match": {"connection": 1, "nth": 11},
                        "then": [{"do": "goaway"}, {"do": "delay", "delay_s": 0.1}],
                    }
                ]
            )
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert not claim.retries and not claim.burials
            connections = [rig.simulator.ledger.attempts(each)[-1].connection for each in pushed]
            assert connections == [1] * 10 + [2] * 90
            assert rig.fates.tally["resent"] == 90

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


def test_the_stream_limit_is_followed_down_to_one_and_up_again() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = rig.pool(most=1)
            limits = [{"do": "limit_streams", "streams": 1}, {"do": "delay", "delay_s": 0.15}]
            limits.append({"do": "limit_streams", "streams": 1000})
            rig.simulator.script([{"match": {"nth": 50}, "then": limits}])
            claim, pushed = rig.push(pool, 300)
            await until(lambda: claim.left == 0, lambda: pool)
            summary = rig.simulator.ledger.summary()
            assert summary["accepted"] == 300 and summary["repeated"] == 0
            assert summary["connections_opened"] == 1
            assert rig.times_tried(pushed) <= {1, 2}

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


def test_a_deadline_frees_the_place_and_the_push_comes_again_later() -> None:
    async def scenario() -> None:
        async with Rig(streams_max=1) as rig:
            rig.answer_deadline_s = 0.1
            pool = rig.pool(most=1)
            rig.simulator.script([{"match": {"nth": 2}, "then": [{"do": "silence"}]}])
            claim, pushed = rig.push(pool, 4)
            await until(lambda: claim.left == 0, lambda: pool)
            assert retried(claim) == [pushed[1]]
            assert rig.times_accepted([pushed[0], *pushed[2:]]) == {1}

    run(scenario)


def test_two_teams_are_never_on_one_connection() -> None:
    async def scenario() -> None:
        async with Rig(teams=3) as rig:
            pools = [rig.pool(team, most=2) for team in range(3)]
            claims = []
            for _ in range(5):
                for team, pool in enumerate(pools):
                    claims.append(rig.push(pool, 20, team)[0])
                await asyncio.sleep(0.01)
            await until(lambda: not rig.hand.jobs, lambda: pools)
            assert not any(claim.burials or claim.retries for claim in claims)
            connections = rig.simulator.ledger.connections()
            assert all(len(teams) == 1 for teams in connections.values())
            assert {team for teams in connections.values() for team in teams} == {
                t.team_id for t in rig.teams
            }

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
