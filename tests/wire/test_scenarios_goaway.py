"""S14 to S19: connections that end, told or untold, with pushes on them."""

import asyncio
from typing import Any

import pytest
from rig import Rig, retried, run, until


def connections(rig: Rig, pushed: list[str]) -> list[list[int]]:
    """On which connections each push was tried."""
    return [[each.connection for each in rig.simulator.ledger.attempts(push)] for push in pushed]


def test_s14_t7_what_a_goaway_disowns_is_sent_once_more_elsewhere_and_the_rest_is_awaited() -> None:
    """Who takes GOAWAY for the end sends what was accepted again; who ignores its last id loses what is above."""

    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S14")
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert not claim.retries and not claim.burials
            # the connection stays open behind its GOAWAY, and nothing more is tried on it
            assert connections(rig, pushed) == [[1]] * 21 + [[2]] * 79
            assert rig.times_accepted(pushed) == {1}
            assert rig.endings.tally["resent"] == 79

    run(scenario)


def test_s15_after_a_goaway_the_link_takes_nothing_more_though_the_connection_stays_open() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S15")
            [link] = pool.links
            last, _ = rig.push(pool, 1)
            await until(lambda: last.left == 0 and not link.usable, lambda: pool)
            claim, pushed = rig.push(pool, 50)
            await until(lambda: claim.left == 0, lambda: pool)
            assert connections(rig, pushed) == [[2]] * 50
            assert not claim.retries and rig.endings.tally["resent"] == 0
            await until(lambda: rig.simulator.open_connections == 1)

    run(scenario)


def test_s16_what_a_second_lower_goaway_uncovers_is_sent_once_more_too() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S16")
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert connections(rig, pushed) == [[1]] * 11 + [[1, 2]] * 10 + [[2]] * 79
            assert rig.times_accepted(pushed) == {1}
            assert rig.endings.tally["resent"] == 89 and not claim.retries

    run(scenario)


def test_s17_a_fatal_goaway_at_connect_makes_no_reconnect_loop_and_its_reason_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with Rig(teams=3) as rig:
            host = rig.host(redial_first_s=0.1)
            pools = [rig.pool(team, host=host, apart_s=0.0, probes=4) for team in range(3)]
            await rig.simulator.play("S17")
            claims = [rig.push(pool, 100, team)[0] for team, pool in enumerate(pools)]
            await asyncio.sleep(0.7)
            # delays of 0.05 to 0.1 s, then up to 0.2, 0.4, 0.8, for all pools together but the first dials
            assert 2 <= rig.simulator.ledger.connections_opened <= 9
            assert "BadCertificateEnvironment" in caplog.text
            # what can't be sent does not stay in hand
            assert rig.hand.jobs <= 12
            assert sum(len(claim.retries) for claim in claims) >= 288
            rig.simulator.script([])
            for team, pool in enumerate(pools):
                again, pushed = rig.push(pool, 3, team)
                await until(lambda again=again: again.left == 0, lambda: (pools, host))
                assert rig.times_accepted(pushed) <= {0, 1}

    run(scenario)


def test_s18_t13_pushes_without_an_answer_are_tried_again_under_the_same_apns_id() -> None:
    """An id that is new with each attempt hides from everybody that the push was sent twice."""

    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S18")
            claim, pushed = rig.push(pool, 30)
            await until(lambda: claim.left == 0, lambda: pool)
            # the ten that APNs took, and those of which it is not known
            assert sorted(retried(claim)) == sorted(pushed)
            before = rig.simulator.ledger.summary()["apns_ids"]
            again, repeated = rig.push_again(pool, claim)
            await until(lambda: again.left == 0, lambda: pool)
            assert sorted(repeated) == sorted(pushed) and not again.retries
            assert rig.times_accepted(pushed[:10]) == {2}
            assert rig.times_accepted(pushed[10:]) == {1}
            assert rig.simulator.ledger.summary()["apns_ids"] == before + 19

    run(scenario)


def test_s19_what_waits_behind_the_stream_limit_of_a_dying_connection_is_sent_on_the_next() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S19")
            claim, pushed = rig.push(pool, 500)
            await until(lambda: claim.left == 0, lambda: pool)
            doubtful = retried(claim)
            assert len(doubtful) == 5
            sent = [push for push in pushed if push not in doubtful]
            assert rig.times_accepted(sent) == {1} and rig.times_tried(sent) <= {1, 2}
            assert rig.simulator.ledger.connections_opened == 2
            assert not pool.backlog and not rig.hand.jobs

    run(scenario)


@pytest.mark.parametrize(
    ("code", "sent_again_at_once"), [("REFUSED_STREAM", True), ("INTERNAL_ERROR", False), ("CANCEL", False)]
)
def test_t6_a_reset_stream_never_hangs_and_only_a_refused_one_is_sent_again_at_once(
    code: str, sent_again_at_once: bool
) -> None:
    """A client that does not hear RST_STREAM waits for an answer that can't come any more."""

    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            reset: dict[str, Any] = {"do": "reset_stream", "code": code}
            rig.simulator.script([{"match": {"attempt": 1}, "then": [reset]}])
            claim, pushed = rig.push(pool, 20)
            await until(lambda: claim.left == 0, lambda: pool)
            assert len(claim.retries) == (0 if sent_again_at_once else 20)
            if not sent_again_at_once:
                again, _ = rig.push_again(pool, claim)
                await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1} and rig.times_tried(pushed) == {2}
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)
