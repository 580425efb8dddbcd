"""S26 to S30, S35 and S36: answers that refuse, for a device, a connection or everybody, and in odd shapes."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rig import Rig, job, retried, run, until
from test_feeder import Store, feeding

from loadtest.simulator.scenarios import SCENARIOS, narrowed
from shards.claim import Retry, Settlement
from shards.job import Job, decode_job


def test_s26_a_tenant_with_many_bad_tokens_gets_its_good_pushes_through_and_troubles_no_other() -> None:
    async def scenario() -> None:
        async with Rig(teams=2, seed=7) as rig:
            host = rig.host()
            pool = await rig.warm_pool(host=host, redial_first_s=0.02)
            other = await rig.warm_pool(1, host=host)
            await rig.simulator.play("S26", team=rig.teams[0].team_id)
            claim, pushed = rig.push(pool, 300)
            claims = [claim]
            neighbour, sent = rig.push(other, 100, 1)
            await until(lambda: neighbour.left == 0, lambda: other)
            assert rig.times_tried(sent) == {1}
            while claims[-1].left or claims[-1].retries:
                await until(lambda: claims[-1].left == 0, lambda: pool)
                claims.append(rig.push_again(pool, claims[-1])[0])
            dead = [burial for each in claims for burial in each.burials]
            assert {burial.reason for burial in dead} == {"BadDeviceToken"}
            buried = {decode_job(burial.job).id.decode() for burial in dead}
            assert 60 < len(buried) == len(dead) < 140
            # a third is no reason to doubt the tokens themselves, so they are dropped
            assert sum(bool(burial.token) for burial in dead) > len(dead) / 2 and not rig.fates.trickles()
            assert rig.times_accepted([push for push in pushed if push not in buried]) == {1}
            # one for the neighbour, and one more for each hundred pushes that the tenant's links carried
            assert rig.simulator.ledger.connections_opened <= 8

    run(scenario)


def test_s26_a_tenant_whose_tokens_are_nearly_all_bad_is_slowed_down_and_loses_none_of_them() -> None:
    async def scenario() -> None:
        async with Rig(teams=2, seed=7) as rig:
            host = rig.host()
            pool = await rig.warm_pool(host=host, redial_first_s=0.02)
            other = await rig.warm_pool(1, host=host)
            *ends_links, _ = narrowed(SCENARIOS["S26"].rules, team=rig.teams[0].team_id)
            nearly_all = {"team": rig.teams[0].team_id, "share": 0.95}
            answer = {"do": "answer", "reason": "BadDeviceToken"}
            rig.simulator.script([*ends_links, {"match": nearly_all, "then": [answer]}])
            claim, _ = rig.push(pool, 2_000)
            neighbour, sent = rig.push(other, 100, 1)
            await until(lambda: claim.left == 0 and neighbour.left == 0, lambda: pool)
            assert rig.times_tried(sent) == {1} and not neighbour.burials
            # what was under way when it became clear; the rest has gone back
            assert rig.fates.trickles().keys() == {"tenant-0"}
            assert 50 <= len(claim.burials) <= 1_100
            assert len(retried(claim)) >= 900
            assert sum(bool(burial.token) for burial in claim.burials) <= 10
            assert rig.simulator.ledger.connections_opened <= 5

    run(scenario)


def test_s27_the_time_since_which_a_token_is_dead_is_handed_on_in_milliseconds() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S27")
            older, _ = rig.push(pool, 1, device_token=b"dead01")
            newer, _ = rig.push(pool, 1, device_token=b"beef01")
            await until(lambda: not rig.hand.jobs, lambda: pool)
            told = [(claim.burials[0].reason, claim.burials[0].timestamp_ms) for claim in (older, newer)]
            assert told == [("Unregistered", 1_000_000_000_000), ("Unregistered", 4_000_000_000_000)]
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s28_too_many_requests_for_a_device_delay_that_device_only() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S28")
            busy, delayed = rig.push(pool, 3, device_token=b"dead01")
            await until(lambda: busy.left == 0, lambda: pool)
            claim, pushed = rig.push(pool, 100)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            assert retried(busy) == delayed and rig.times_tried(delayed) == {1}
            assert rig.times_tried(pushed) == {1} and not claim.retries
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s28_until_the_refused_push_is_due_others_for_its_device_wait_and_lose_no_attempt() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            await rig.simulator.play("S28")
            busy = [job(rig.teams[0], device_token=b"dead01") for _ in range(6)]
            plain = [job(rig.teams[0]) for _ in range(50)]
            store = Kept({0: [[busy[0]]]})
            async with feeding(rig, store, 1) as (feeder, *_):
                await until(lambda: store.retries, lambda: feeder)
                [refused] = store.retries
                store.stock[0] = [[*busy[1:], *plain]]
                feeder.wake()
                await until(lambda: len(store.retries) == 6, lambda: feeder)
                await until(lambda: rig.times_accepted(named(plain)) == {1}, lambda: feeder)
                assert rig.times_tried(named(busy[:1])) == {1} and rig.times_tried(named(busy[1:])) == {0}
                waiting = [decode_job(retry.job) for retry in store.retries[1:]]
                assert {each.id for each in waiting} == {each.id for each in busy[1:]}
                assert {each.attempts for each in waiting} == {0}
                assert min(retry.due_ms for retry in store.retries[1:]) >= refused.due_ms - 1
                # when the device has cooled down, they are sent
                rig.simulator.script([])
                rig.wall.ahead_s += 600
                store.stock[0] = [busy]
                feeder.wake()
                await until(lambda: rig.times_accepted(named(busy)) == {1}, lambda: feeder)
                assert not rig.endings.cooling

    run(scenario)


class Kept(Store):
    """Keeps the jobs that are to be tried again."""

    def __init__(self, stock: dict[int, list[Any]]) -> None:
        super().__init__(stock)
        self.retries: list[Retry] = []

    async def settle(self, settlements: Sequence[Settlement]) -> list[Any]:
        self.retries += [retry for settlement in settlements for retry in settlement.retries]
        return await super().settle(settlements)


def named(jobs: list[Job]) -> list[str]:
    return [each.id.decode() for each in jobs]


def test_s29_while_everything_is_unavailable_little_is_tried_and_little_is_held() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(redial_first_s=0.1, apart_s=0.0, probes=4, steady_s=10.0)
            await rig.simulator.play("S29")
            claims = [rig.push(pool, 200)[0] for _ in range(3)]
            await until(lambda: all(claim.retries for claim in claims), lambda: pool)
            before = len(rig.simulator.ledger)
            for _ in range(35):
                claims.append(rig.push(pool, 20)[0])
                await asyncio.sleep(0.02)
            # one push for each connection, and those at the pace of the back-off: 0.05 to 0.1 s, up to 0.2, 0.4, 0.8
            assert len(rig.simulator.ledger) - before <= 7
            assert rig.simulator.ledger.connections_opened <= 8
            assert rig.hand.jobs <= 4 and len(pool.backlog) <= 4
            assert sum(len(claim.retries) for claim in claims) == 1300 - rig.hand.jobs
            rig.simulator.script([])
            await until(lambda: not rig.hand.jobs, lambda: pool)
            again, pushed = rig.push_again(pool, claims[0])
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(pushed) == {1}

    run(scenario)


def test_s30_a_connection_that_answers_500_to_everything_is_replaced() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool(faults_most=5)
            await rig.simulator.play("S30")
            broken, refused = rig.push(pool, 10)
            await until(lambda: broken.left == 0 and not pool.links, lambda: pool)
            assert retried(broken) == refused
            again, _ = rig.push_again(pool, broken)
            await until(lambda: again.left == 0, lambda: pool)
            assert rig.times_accepted(refused) == {1}
            assert rig.simulator.ledger.connections_opened == 2

    run(scenario)


def test_s30_single_500s_among_good_answers_replace_nothing() -> None:
    async def scenario() -> None:
        async with Rig(seed=3) as rig:
            pool = await rig.warm_pool(faults_most=5)
            rig.simulator.script(
                [{"match": {"share": 0.3}, "then": [{"do": "answer", "reason": "InternalServerError"}]}]
            )
            for _ in range(40):
                claim, _ = rig.push(pool, 5)
                await until(lambda claim=claim: claim.left == 0, lambda: pool)
            assert rig.simulator.ledger.summary()["refused"]["InternalServerError"] > 20
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_s35_a_refusal_is_understood_whole_split_bare_or_unreadable() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S35")
            claim, _ = rig.push(pool, 3, device_token=b"dead01")
            good, pushed = rig.push(pool, 10)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            reasons = Counter(burial.reason for burial in claim.burials)
            assert reasons == {"BadDeviceToken": 1, "Status400": 2}
            assert rig.times_tried(pushed) == {1} and good.left == 0
            assert rig.simulator.ledger.connections_opened == 1

    run(scenario)


def test_reasons_that_no_list_knows_are_counted_as_one_and_stand_in_full_in_the_letters() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            # with a colon, as what is told of a push that was given up
            strange = [f"Strange{number}: PayloadTooLarge" for number in range(20)]
            answers = [
                {"do": "answer", "status": 400, "body": f'{{"reason":"{reason}"}}'}
                for reason in (*strange, "PayloadTooLarge")
            ]
            rig.simulator.script([{"times": 1, "then": [answer]} for answer in answers])
            claim, _ = rig.push(pool, 21)
            await until(lambda: claim.left == 0, lambda: pool)
            assert {burial.reason for burial in claim.burials} == {*strange, "PayloadTooLarge"}
            assert rig.endings.tally == {"accepted": 1, "refused other": 20, "refused PayloadTooLarge": 1}

    run(scenario)


def test_s36_an_answer_belongs_to_its_stream_whatever_apns_id_it_bears() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await rig.simulator.play("S36")
            bare, without = rig.push(pool, 20, device_token=b"dead01")
            upper, shouted = rig.push(pool, 20)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            assert not bare.retries and not upper.retries
            assert rig.times_tried(without) == {1} and rig.times_tried(shouted) == {1}
            assert rig.endings.tally["accepted"] == 41

    run(scenario)


def test_t5_an_expiration_that_was_not_given_is_not_sent_and_zero_is_sent_as_zero() -> None:
    """No expiration lets Apple store the push; 0 forbids it. Who takes one for the other breaks either wish."""

    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            late = int(rig.wall()) + 3600
            rig.simulator.script(
                [
                    {"match": {"expiration": ""}, "then": [{"do": "answer", "status": 400, "body": ""}]},
                    {"match": {"expiration": "0"}, "then": [{"do": "answer", "reason": "PayloadTooLarge"}]},
                    {"match": {"expiration": str(late)}, "then": [{"do": "answer", "reason": "BadPriority"}]},
                ]
            )
            absent, _ = rig.push(pool, 2)
            zero, _ = rig.push(pool, 2, expiration=0)
            later, _ = rig.push(pool, 2, expiration=late)
            await until(lambda: not rig.hand.jobs, lambda: pool)
            reasons = [[burial.reason for burial in claim.burials] for claim in (absent, zero, later)]
            assert reasons == [["Status400"] * 2, ["PayloadTooLarge"] * 2, ["BadPriority"] * 2]

    run(scenario)
