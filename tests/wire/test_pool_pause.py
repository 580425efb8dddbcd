"""A credential that APNs refuses: one pause for many refusals, one push that tries, and nobody else touched."""

import asyncio
import time
from typing import Any

import pytest
from rig import Rig, retried, run, until

from engine.link.pool import Pool
from engine.policy.pause import WHOLE, PauseOptions
from engine.worker.conditions import ConditionLog
from loadtest.simulator.server import Team
from loadtest.teams import make_team
from shards.job import decode_job
from shards.tenant import Tenant

# longer than any of these tests takes: a pause is over when the clock is put forward
LONG = PauseOptions(first_s=60.0, most_s=400.0, try_s=60.0)


class Notes(ConditionLog):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.said: list[str] = []

    def note(self, key: Any, topic: str, reason: str) -> None:
        self.said.append(f"{reason} {topic}".rstrip())
        super().note(key, topic, reason)

    def clear(self, key: Any, topic: str) -> None:
        self.said.append(f"clear {topic}".rstrip())
        super().clear(key, topic)


def register(rig: Rig, team: int, *, revoked: bool) -> None:
    """Tell the simulated Apple a team's key, or revoke it by telling it another."""
    made = rig.teams[team]
    other = make_team(77) if revoked else made
    rig.simulator.register(
        Team(
            team_id=made.team_id,
            key_id=made.key_id,
            public_key_pem=other.public_key_pem,
            topics=(made.topic,),
        )
    )


def end_pause(rig: Rig, pool: Pool, topic: str = WHOLE) -> None:
    rig.clock.ahead_s += pool.pauses[topic].until_s - rig.clock()


def test_a_revoked_key_pauses_its_pool_once_and_works_again_when_it_is_put_right() -> None:
    async def scenario() -> None:
        async with Rig(teams=2, rtt_s=0.02) as rig:
            notes = rig.fates._conditions = Notes()
            sick = rig.pool(0, most=2, pause=LONG)
            well = rig.pool(1, pause=LONG)
            warm, _ = rig.push(sick, 50)
            await until(lambda: warm.left == 0)
            register(rig, 0, revoked=True)
            opened = rig.simulator.ledger.connections_opened
            claim, pushed = rig.push(sick, 100)
            await until(lambda: claim.left == 0, lambda: sick)
            assert sick.pauses[WHOLE].strikes == 1
            assert notes.said == ["InvalidProviderToken"]
            # all were refused on the old link; one was tried on a fresh one, and its refusal told on the others
            tried = [rig.simulator.ledger.attempt_count(each) for each in pushed]
            assert sorted(tried) == [1] * 99 + [2]
            assert sum(decode_job(each.job).attempts for each in claim.retries) == 1
            assert not claim.burials
            assert sick.rests()
            await until(lambda: not sick.links, lambda: sick)
            other, served = rig.push(well, 100, 1)
            await until(lambda: other.left == 0, lambda: well)
            assert rig.times_accepted(served) == {1}
            # while it rests nothing is sent, and nothing dialled
            resting, rested = rig.push(sick, 20)
            assert resting.left == 0 and len(retried(resting)) == 20
            await asyncio.sleep(0.2)
            assert rig.times_tried(rested) == {0}
            assert rig.simulator.ledger.connections_opened == opened + 2

            end_pause(rig, sick)
            assert not sick.rests()
            trying, tries = rig.push(sick, 20)
            await until(lambda: trying.left == 0, lambda: sick)
            assert sorted(rig.simulator.ledger.attempt_count(each) for each in tries) == [0] * 19 + [1]
            pause = sick.pauses[WHOLE]
            assert pause.strikes == 2
            assert pause.until_s - pause.began_s == pytest.approx(2 * LONG.first_s)

            register(rig, 0, revoked=False)
            end_pause(rig, sick)
            assert not sick.rests()
            healed, accepted = rig.push(sick, 1)
            await until(lambda: healed.left == 0, lambda: sick)
            assert rig.times_accepted(accepted) == {1}
            assert not sick.pauses
            assert notes.said[-1] == "clear"
            rest, following = rig.push(sick, 50)
            await until(lambda: rest.left == 0)
            assert rig.times_accepted(following) == {1}

    run(scenario)


@pytest.mark.parametrize("reason", ["Forbidden", "BadEnvironmentKeyInToken", "BadCertificateEnvironment"])
def test_a_hundred_refusals_under_way_together_are_one_pause(reason: str) -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            notes = rig.fates._conditions = Notes()
            pool = rig.pool(0, most=1, pause=LONG)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script([{"then": [{"do": "answer", "status": 403, "reason": reason}]}])
            claim, pushed = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert pool.pauses[WHOLE].strikes == 1
            assert pool.pauses[WHOLE].reason == reason
            assert rig.times_tried(pushed) == {1}
            assert notes.said.count(reason) == 100
            assert {decode_job(each.job).attempts for each in claim.retries} == {1}
            assert len(claim.retries) == 100

    run(scenario)


def test_what_was_to_be_sent_again_at_once_rests_with_the_others_when_a_pause_begins() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            pool = rig.pool(0, most=1, pause=LONG)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script(
                [
                    {"match": {"nth": 10}, "then": [{"do": "answer", "reason": "Forbidden"}]},
                    {"then": [{"do": "answer", "reason": "InvalidProviderToken"}]},
                ]
            )
            claim, pushed = rig.push(pool, 20)
            await until(lambda: claim.left == 0, lambda: pool)
            assert pool.pauses[WHOLE].reason == "Forbidden"
            assert rig.times_tried(pushed) == {1}

    run(scenario)


def test_an_answer_to_what_was_sent_before_the_pause_clears_no_condition() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            notes = rig.fates._conditions = Notes()
            pool = rig.pool(0, most=1, pause=LONG)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script(
                [
                    {"match": {"nth": 2}, "then": [{"do": "answer", "reason": "Forbidden"}]},
                    {"then": [{"do": "delay", "delay_s": 0.1}, {"do": "judge"}]},
                ]
            )
            claim, _ = rig.push(pool, 10)
            await until(lambda: claim.left == 0, lambda: pool)
            assert notes.said == ["Forbidden"]
            assert WHOLE in pool.pauses

    run(scenario)


def test_an_invalid_token_on_a_connection_that_was_anothers_is_healed_by_a_fresh_one() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(0, most=1, pause=LONG, steady_s=0.0)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script(
                [{"match": {"connection": 1}, "then": [{"do": "answer", "reason": "InvalidProviderToken"}]}]
            )
            claim, pushed = rig.push(pool, 30)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert not pool.pauses and not claim.retries

    run(scenario)


def test_a_topic_that_is_not_allowed_pauses_alone_and_comes_back() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            notes = rig.fates._conditions = Notes()
            pool = rig.pool(0, most=1, pause=LONG)
            bad, refused = rig.push(pool, 10, topic="com.example.new")
            await until(lambda: bad.left == 0, lambda: pool)
            good, served = rig.push(pool, 50)
            await until(lambda: good.left == 0, lambda: pool)
            assert rig.times_accepted(served) == {1}
            assert not pool.rests() and "com.example.new" in pool.pauses
            assert {decode_job(each.job).id.decode() for each in bad.retries} == set(refused)
            resting, rested = rig.push(pool, 5, topic="com.example.new")
            assert resting.left == 0 and rig.times_tried(rested) == {0}

            rig.simulator.register(
                Team(
                    team_id=rig.teams[0].team_id,
                    key_id=rig.teams[0].key_id,
                    public_key_pem=rig.teams[0].public_key_pem,
                    topics=(rig.teams[0].topic, "com.example.new"),
                )
            )
            end_pause(rig, pool, "com.example.new")
            healed, accepted = rig.push(pool, 5, topic="com.example.new")
            await until(lambda: healed.left == 0, lambda: pool)
            # one tried, the others wait behind it for a moment
            assert sorted(rig.simulator.ledger.accepted(each) for each in accepted) == [0, 0, 0, 0, 1]
            # APNs binds a connection to the topics that there were when it was opened
            assert rig.simulator.ledger.connections_opened == 2
            assert not pool.pauses
            assert notes.said[-1] == "clear com.example.new"

    run(scenario)


def test_a_push_whose_time_passes_while_it_waits_for_a_link_is_not_sent() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.01) as rig:
            pool = rig.pool(0, most=1)
            rig.simulator.script([{"times": 1, "then": [{"do": "delay", "delay_s": 1.5}, {"do": "judge"}]}])
            # an unproved link takes one push at a time, so what stands behind the first waits
            first, _ = rig.push(pool, 1)
            claim, late = rig.push(pool, 5, expiration=int(time.time()) + 1)
            timely, sent = rig.push(pool, 5, expiration=int(time.time()) + 600)
            await until(lambda: first.left == 0 and claim.left == 0 and timely.left == 0, lambda: pool)
            assert rig.times_tried(late) == {0}
            assert [burial.reason for burial in claim.burials] == ["Expired"] * 5
            assert rig.times_accepted(sent) == {1}

    run(scenario)


@pytest.mark.parametrize(("policy", "buried"), [("resend", 0), ("bury", 20)])
def test_a_lost_answer_is_resent_or_buried_as_the_tenant_wants(policy: str, buried: int) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            if policy == "bury":
                rig.fates.heed(Tenant("tenant-0", in_doubt="bury"))
            pool = rig.pool(0, most=1, overdue_s=0.3)
            warm, _ = rig.push(pool, 1)
            await until(lambda: warm.left == 0)
            rig.simulator.script([{"then": [{"do": "silence", "judged": True}]}])
            claim, pushed = rig.push(pool, 20)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}
            assert [burial.reason for burial in claim.burials] == ["InDoubt: deadline"] * buried
            assert len(retried(claim)) == 20 - buried

    run(scenario)


def test_what_apns_never_had_is_sent_again_whatever_the_tenant_says_of_doubt() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            rig.fates.heed(Tenant("tenant-0", in_doubt="bury"))
            pool = rig.pool(0, most=1)
            rig.simulator.script(
                [{"match": {"attempt": 1}, "then": [{"do": "reset_stream", "code": "REFUSED_STREAM"}]}]
            )
            claim, pushed = rig.push(pool, 20)
            await until(lambda: claim.left == 0, lambda: pool)
            assert not claim.burials
            assert rig.times_accepted(pushed) == {1}

    run(scenario)


def test_a_dead_token_is_reported_with_apples_time_and_other_refusals_are_not() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = rig.pool(0, most=1)
            rig.simulator.script(
                [
                    {
                        "match": {"token_prefix": "dead"},
                        "then": [
                            {"do": "answer", "reason": "Unregistered", "timestamp_ms": 1_700_000_000_123}
                        ],
                    },
                    {"then": [{"do": "answer", "reason": "PayloadTooLarge"}]},
                ]
            )
            claim, _ = rig.push(pool, 1, device_token=b"dead00", admitted_ms=5, attempts=1)
            other, _ = rig.push(pool, 1)
            await until(lambda: claim.left == 0 and other.left == 0, lambda: pool)
            [burial], [plain] = claim.burials, other.burials
            assert (burial.reason, burial.status, burial.timestamp_ms) == (
                "Unregistered",
                410,
                1_700_000_000_123,
            )
            assert (burial.lane, burial.attempts, burial.admitted_ms) == ("high", 2, 5)
            assert (burial.token, burial.topic) == (b"dead00", rig.teams[0].topic)
            assert burial.environment == "production"
            assert (plain.reason, plain.status, plain.token) == ("PayloadTooLarge", 413, b"")

    run(scenario)
