"""S7 to S13: provider tokens that APNs refuses, and what a connection is worth after it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from rig import Rig, retried, run, until

from engine.apns.bearer import GRID_S, Bearer
from shards.key_files import load_p8

HOURS_S = 3600.0


def test_s7_after_an_expired_token_what_was_refused_is_sent_again_once_on_a_new_connection() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S7")
            claim, pushed = rig.push(pool, 20)
            await until(lambda: claim.left == 0, lambda: pool)
            assert not claim.burials
            again, _ = rig.push_again(pool, claim)
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and not again.retries
            where = [[each.connection for each in rig.simulator.ledger.attempts(push)] for push in pushed]
            assert all(tried[-1] == 2 for tried in where) and rig.times_tried(pushed) <= {1, 2}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_s7_a_clock_that_is_two_hours_slow_makes_no_storm_and_sends_again_when_it_is_put_right() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            # the simulator's judge has the right time: each token is too old for it, and wedges its connection
            right = rig.wall()
            rig.simulator._world.clock = lambda: right
            rig.wall.ahead_s -= 2 * HOURS_S
            pool = rig.pool(most=1, probes=5, apart_s=0.0, redial_first_s=0.05, redial_most_s=0.2)
            claim, pushed = rig.push(pool, 100)
            await asyncio.sleep(0.5)
            # delays of 0.025 to 0.05 s, then up to 0.1, and 0.2 each; and one token for all of these connections
            refused = rig.simulator.ledger.summary()["refused"]["ExpiredProviderToken"]
            assert refused == rig.simulator.ledger.connections_opened <= 8
            assert rig.simulator.ledger.summary()["bearers_per_key"] == {rig.teams[0].key_id: 1}
            rig.wall.ahead_s += 2 * HOURS_S
            probe, _ = rig.push(pool, 1)
            await until(lambda: claim.left == 0 and probe.left == 0, lambda: pool)
            again, _ = rig.push_again(pool, claim)
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert rig.simulator.ledger.summary()["bearers_per_key"] == {rig.teams[0].key_id: 2}

    run(scenario)


def test_s8_a_link_opened_just_before_the_token_changes_never_changes_its_own_too_soon() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            await rig.simulator.play("S8")
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


def test_s9_a_connection_that_falls_silent_over_its_tokens_is_replaced_and_no_other_token_is_made() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            pool, other = await rig.warm_pool(overdue_s=0.2), await rig.warm_pool(1, overdue_s=0.2)
            await rig.simulator.play("S9", connection=1)
            claim, pushed = rig.push(pool, 20)
            neighbour, _ = rig.push(other, 20, 1)
            await until(lambda: claim.left == 0 and neighbour.left == 0, lambda: pool)
            assert len(claim.retries) == 20 and not neighbour.retries
            again, _ = rig.push_again(pool, claim)
            await until(lambda: again.left == 0, lambda: pool)
            summary = rig.simulator.ledger.summary()
            assert rig.times_accepted(pushed) == {1}
            assert set(summary["bearers_per_key"].values()) == {1}
            assert summary["connections_opened"] == 3
            await until(lambda: rig.simulator.open_connections == 2, lambda: pool)

    run(scenario)


@pytest.mark.parametrize(
    ("number", "reason"), [("S10", "ExpiredProviderToken"), ("S12", "UnrelatedKeyIdInToken")]
)
def test_s10_and_s12_a_hundred_refusals_of_one_connection_replace_it_once(number: str, reason: str) -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play(number)
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert sorted(retried(claim)) == sorted(pushed) and not claim.burials
            assert rig.simulator.ledger.summary()["refused"] == {reason: 100}
            again, _ = rig.push_again(pool, claim)
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and rig.times_tried(pushed) == {2}
            summary = rig.simulator.ledger.summary()
            assert summary["connections_opened"] == 2
            assert summary["bearers_per_key"] == {rig.teams[0].key_id: 1}

    run(scenario)


def test_s11_two_teams_are_never_on_one_connection() -> None:
    async def scenario() -> None:
        async with Rig(teams=3) as rig:
            await rig.simulator.play("S11")
            host = rig.host()
            pools = [rig.pool(team, host=host, most=2) for team in range(3)]
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


def test_s13_a_revoked_key_rests_without_a_storm_of_connections_and_others_go_on() -> None:
    async def scenario() -> None:
        async with Rig(teams=2) as rig:
            host = rig.host()
            pool, other = await rig.warm_pool(host=host), await rig.warm_pool(1, host=host)
            await rig.simulator.play("S13", team=rig.teams[0].team_id)
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            # one connection to see whether it was the connection, and no third
            assert rig.times_tried(pushed) <= {0, 1, 2}
            for _ in range(20):
                held, sent = rig.push(other, 10, 1)
                refused, _ = rig.push(pool, 10)
                await until(lambda held=held: held.left == 0, lambda: other)
                assert rig.times_accepted(sent) == {1}
                await until(lambda refused=refused: refused.left == 0, lambda: pool)
            assert rig.simulator.ledger.connections_opened <= 3
            assert not pool.links or not any(link.usable for link in pool.links)
            assert not claim.burials

    run(scenario)


MINT = """
import sys
from engine.apns.bearer import Bearer
from shards.key_files import load_p8
pem, team, key, now = sys.argv[1:]
print(Bearer(load_p8(pem.encode()), team, key).token(float(now))[0].decode())
"""


def test_t11_many_links_and_processes_of_one_team_show_apns_one_token() -> None:
    """A token of its own for each connection is more than Apple lets a team have: TooManyProviderTokenUpdates."""

    async def scenario() -> None:
        async with Rig() as rig:
            # at one end of a quarter of the grid and near the other
            rig.wall.ahead_s -= rig.wall() % GRID_S - 60.0
            pools = [rig.pool(most=1) for _ in range(4)]
            claims = [rig.push(pool, 10)[0] for pool in pools]
            await until(lambda: not any(claim.left for claim in claims), lambda: pools)
            rig.wall.ahead_s += 19 * 60.0
            claims = [rig.push(pool, 10)[0] for pool in [*pools, rig.pool(most=1)]]
            await until(lambda: not any(claim.left for claim in claims), lambda: pools)
            summary = rig.simulator.ledger.summary()
            assert summary["connections_opened"] == 5
            assert summary["bearers_per_key"] == {rig.teams[0].key_id: 1}

            made, now_s = rig.teams[0], rig.wall()
            arguments = [made.private_key_pem.decode(), made.team_id, made.key_id, str(now_s)]
            elsewhere = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", MINT, *arguments],
                cwd=Path(__file__).resolve().parents[2],
                capture_output=True,
                text=True,
                check=True,
            )
            here = Bearer(load_p8(made.private_key_pem), made.team_id, made.key_id).token(now_s)[0]
            assert elsewhere.stdout.strip() == here.decode()

    run(scenario)
