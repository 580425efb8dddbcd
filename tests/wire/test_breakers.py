"""A flow whose device tokens are mostly bad: none is called dead, a person is told, and little of it is sent."""

from collections.abc import Iterable

from rig import Rig, ids, retried, run, until

from engine.link.pool import Pool
from engine.worker.conditions import ConditionLog
from engine.worker.hand import Claim, HeldRun
from shards.claim import Holding
from shards.job import decode_job

ALL_BAD = [{"then": [{"do": "answer", "reason": "BadDeviceToken"}]}]
FLOW = "tenant-0"


class Notes(ConditionLog):
    """Writes down what it is told of flows."""

    def __init__(self) -> None:
        super().__init__(None)
        self.said: list[str] = []
        self.times = 0

    def note_flow(self, flow: str, reason: str, times: int) -> None:
        self.times += times
        said = f"{flow}: {reason}"
        if self.said[-1:] != [said]:
            self.said.append(said)

    def clear_flow(self, flow: str) -> None:
        self.said.append(f"{flow}: over")


def reported(claims: Iterable[Claim]) -> int:
    """How many device tokens are reported dead."""
    return sum(bool(burial.token) for claim in claims for burial in claim.burials)


async def suspect(rig: Rig, pool: Pool) -> Claim:
    """Make the flow suspect: its backlog has gone back."""
    rig.simulator.script(ALL_BAD)
    claim, _ = rig.push(pool, 200)
    await until(lambda: claim.left == 0, lambda: pool)
    return claim


def test_tokens_of_the_other_environment_are_buried_but_not_reported_and_the_rest_goes_back() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            notes = rig.fates._conditions = Notes()
            # nothing is ever accepted on this link, so it carries one push at a time
            pool = rig.pool(most=1)
            rig.simulator.script(ALL_BAD)
            claim, pushed = rig.push(pool, 300)
            await until(lambda: claim.left == 0, lambda: pool)
            buried = {decode_job(burial.job).id.decode() for burial in claim.burials}
            assert 50 <= len(buried) <= 60
            assert {burial.reason for burial in claim.burials} == {"BadDeviceToken"}
            # the first few could have been any tenant's; none after them
            assert reported([claim]) <= 10 and not any(burial.token for burial in claim.burials[10:])
            # no attempt of theirs, and ready again at once: what comes of them is claimed at a trickle
            back = [retry for retry in claim.retries if not retry.due_ms]
            assert {decode_job(retry.job).attempts for retry in back} == {0}
            assert set(retried(claim)) == set(pushed) - buried and len(back) == 300 - len(buried)
            assert notes.said == ["tenant-0: BadDeviceToken"] and notes.times >= 1
            assert not pool.backlog

    run(scenario)


def test_when_a_whole_batch_is_bad_it_is_judged_as_one_before_any_token_is_reported() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            pool = await rig.warm_pool()
            claim = await suspect(rig, pool)
            assert len(claim.burials) == 200
            assert reported([claim]) == 0

    run(scenario)


def test_a_suspect_flow_has_a_room_of_a_few_pushes_a_second_less_what_is_in_hand() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            pool = await rig.warm_pool()
            assert rig.fates.trickles() == {}
            await suspect(rig, pool)
            assert rig.fates.trickles()[FLOW] <= 1
            rig.clock.ahead_s += 10
            assert rig.fates.trickles() == {FLOW: 4}
            claim, _ = rig.push(pool, 3)
            await until(lambda: claim.left == 0, lambda: pool)
            assert rig.fates.trickles() == {FLOW: 1}
            rig.clock.ahead_s += 10
            rig.simulator.script([{"then": [{"do": "silence"}]}])
            rig.push(pool, 3)
            assert rig.fates.trickles() == {FLOW: 1}
            rig.push(pool, 3)
            assert rig.fates.trickles() == {FLOW: 0}

    run(scenario)


def test_another_tenant_on_the_same_links_goes_on_untouched() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            pool = await rig.warm_pool()
            match = {"token_prefix": "bad0"}
            rig.simulator.script([{"match": match, "then": [{"do": "answer", "reason": "BadDeviceToken"}]}])
            sick, _ = rig.push(pool, 900, device_token=b"bad0")
            # of another flow, with the same credential: it waits behind the others
            claim = Claim(Holding(0, "1.a"), "1.a:other", 200)
            rig.hand.take(claim, [("tenant-7", 200)])
            neighbour = HeldRun(claim, "high", "tenant-7")
            _, made = rig.held(200)
            held = [(entry[0], neighbour) for entry in made]
            pool.add(held)
            pool.pump()
            assert len(pool.backlog) >= 100
            await until(lambda: sick.left == 0 and claim.left == 0, lambda: pool)
            assert rig.times_accepted(ids(held)) == {1} and not claim.retries
            assert rig.fates.trickles().keys() == {FLOW}

    run(scenario)


def test_a_token_that_died_where_it_belongs_is_reported_all_the_same() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            pool = await rig.warm_pool()
            await suspect(rig, pool)
            rig.simulator.script([{"then": [{"do": "answer", "reason": "Unregistered"}]}])
            claim, _ = rig.push(pool, 1)
            await until(lambda: claim.left == 0, lambda: pool)
            assert [burial.reason for burial in claim.burials] == ["Unregistered"] and reported([claim]) == 1

    run(scenario)


def test_a_change_to_the_tenant_begins_anew() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.02) as rig:
            notes = rig.fates._conditions = Notes()
            pool = await rig.warm_pool()
            await suspect(rig, pool)
            rig.fates.forget([FLOW, "tenant-0/sandbox"])
            assert rig.fates.trickles() == {}
            assert notes.said == ["tenant-0: BadDeviceToken", "tenant-0: over"]
            # nothing is held against it: a single bad token is a dead one again
            claim, _ = rig.push(pool, 1)
            await until(lambda: claim.left == 0, lambda: pool)
            assert reported([claim]) == 1
            # and if nothing was put right, it is soon caught again
            again = await suspect(rig, pool)
            assert reported([again]) == 0
            assert notes.said[-1] == "tenant-0: BadDeviceToken"

    run(scenario)


def test_good_tokens_end_it_and_bad_ones_are_reported_again() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.02) as rig:
            notes = rig.fates._conditions = Notes()
            pool = await rig.warm_pool()
            await suspect(rig, pool)
            rig.simulator.script([])
            while rig.fates.trickles():
                # the few that come through in the time of each
                rig.clock.ahead_s += 1
                claim, _ = rig.push(pool, 4)
                await until(lambda claim=claim: claim.left == 0, lambda: pool)
            assert notes.said == ["tenant-0: BadDeviceToken", "tenant-0: over"]
            rig.simulator.script(ALL_BAD)
            claim, _ = rig.push(pool, 1)
            await until(lambda: claim.left == 0, lambda: pool)
            assert reported([claim]) == 1

    run(scenario)


def test_a_flow_that_stops_sending_is_forgotten_and_the_condition_with_it() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            notes = rig.fates._conditions = Notes()
            pool = await rig.warm_pool()
            await suspect(rig, pool)
            rig.clock.ahead_s += 600
            assert rig.fates.trickles() == {}
            assert notes.said[-1] == "tenant-0: over"

    run(scenario)


def test_a_flow_that_is_seen_to_be_well_clears_what_an_earlier_process_left() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            notes = rig.fates._conditions = Notes()
            pool = await rig.warm_pool()
            claim, _ = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            claim, _ = rig.push(pool, 100)
            await until(lambda: claim.left == 0, lambda: pool)
            assert notes.said == ["tenant-0: over"]

    run(scenario)
