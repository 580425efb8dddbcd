"""Which claims are divided, and what of them is settled: all that has a fate, and nothing while a job is nowhere."""

from typing import Any

import pytest

from engine.link.pool import Pool, PoolKey
from engine.policy.links import LinkOptions
from engine.worker.carry import AFTER_S, carry_over, slow, take_back
from engine.worker.hand import Claim, Hand, HeldRun
from shards.claim import Holding, Retry, Run, Settlement
from shards.job import Job, encode_job

HOLDING = Holding(3, "1.a")
NOW_S = 100.0


def claim(kept: int, left: int, *, since_s: float = NOW_S - AFTER_S) -> Claim:
    made = Claim(HOLDING, "1.a:9", kept, since_s)
    made.left = left
    return made


def pool() -> Pool:
    """One that only keeps a backlog: it is never asked to open a link."""
    nobody: Any = None
    return Pool(PoolKey("production", "TEAM", "KEY", "print"), nobody, nobody, nobody, LinkOptions())


def jobs(number: int) -> list[Job]:
    return [Job(b"%d" % each, b"ab", "com.acme", b"{}") for each in range(number)]


@pytest.mark.parametrize(
    ("kept", "left", "divided"), [(10, 5, True), (10, 1, True), (10, 6, False), (10, 0, False), (1, 1, False)]
)
def test_a_claim_is_slow_when_half_of_it_is_done_and_not_all(kept: int, left: int, divided: bool) -> None:
    one = claim(kept, left)
    assert slow([one], NOW_S) == [one] * divided


def test_a_claim_that_is_young_or_anothers_is_left_alone() -> None:
    young, lost, old = claim(10, 1, since_s=NOW_S - 0.9 * AFTER_S), claim(10, 1), claim(10, 1)
    lost.lost = True
    assert slow([young, lost, old], NOW_S) == [old]


def in_hand(kept: int, runs: dict[tuple[str, str], int]) -> tuple[Hand, Claim, dict[HeldRun, list[Job]]]:
    """A claim that is old, of which only these runs have no fate yet."""
    hand, one = Hand(1_000, lambda claim: None), claim(kept, sum(runs.values()))
    hand.take(one, [(flow, number) for (_, flow), number in runs.items()])
    return hand, one, {HeldRun(one, lane, flow): jobs(number) for (lane, flow), number in runs.items()}


def test_what_has_no_fate_yet_goes_over_by_run_and_the_rest_is_settled_once() -> None:
    hand, one, runs = in_hand(10, {("high", "a"): 2, ("low", "b"): 1})
    retries = [Retry(5, "high", "a", b"job")]
    one.retries = list(retries)
    one.elements[b"campaign"] = 4
    # those of one run may wait in several pools
    here, there = pool(), pool()
    (first, [early, late]), (second, [other]) = runs.items()
    here.backlog.extend([(early, first), (other, second)])
    there.backlog.append((late, first))
    rest = [
        Run("high", "a", [encode_job(early), encode_job(late)]),
        Run("low", "b", [encode_job(other)]),
    ]
    assert carry_over(hand, [here, there], NOW_S) == [
        Settlement(HOLDING, "1.a:9", retries, [], "1.a:1", rest, elements={b"campaign": 4})
    ]
    assert (one.claim_id, one.kept, one.left, one.since_s) == ("1.a:1", 3, 3, NOW_S)
    assert (one.retries, one.burials, one.elements) == ([], [], {})
    # it is as young as a new claim, and in hand as before
    assert carry_over(hand, [here, there], NOW_S) == []
    assert hand.claims == {one}


def test_one_job_is_nowhere_so_the_claim_is_not_divided() -> None:
    hand, one, runs = in_hand(10, {("high", "a"): 2})
    [(run, [here, _])] = runs.items()
    pools = [pool()]
    pools[0].backlog.append((here, run))
    assert carry_over(hand, pools, NOW_S) == []
    assert (one.claim_id, one.kept, one.since_s) == ("1.a:9", 10, NOW_S - AFTER_S)


def test_a_claim_whose_jobs_are_found_is_divided_beside_one_that_misses_some() -> None:
    hand, found, runs = in_hand(10, {("high", "a"): 1})
    missed = claim(10, 1)
    hand.take(missed, [("a", 1)])
    one = pool()
    one.backlog.extend((job, run) for run, held in runs.items() for job in held)
    [settlement] = carry_over(hand, [one], NOW_S)
    assert (settlement.rest_id, found.claim_id, missed.claim_id) == ("1.a:1", "1.a:1", "1.a:9")


def test_jobs_of_claims_that_are_not_slow_are_left_where_they_are() -> None:
    hand, _, runs = in_hand(10, {("high", "a"): 2})
    young = claim(10, 1, since_s=NOW_S)
    hand.take(young, [("a", 1)])
    one = pool()
    one.backlog.extend((job, run) for run, held in runs.items() for job in held)
    one.backlog.append((jobs(1)[0], HeldRun(young, "high", "a")))
    [settlement] = carry_over(hand, [one], NOW_S)
    assert sum(len(run.jobs) for run in settlement.rest) == 2
    assert young.claim_id == "1.a:9"


@pytest.mark.parametrize(
    ("shards", "since_s", "taken"),
    [({3}, NOW_S - AFTER_S, True), ({3}, NOW_S - 0.9 * AFTER_S, False), ({4}, NOW_S - AFTER_S, False)],
)
def test_what_waits_for_a_link_is_taken_back_from_the_shards_that_are_to_go(
    shards: set[int], since_s: float, taken: bool
) -> None:
    waiting, run = pool(), HeldRun(claim(2, 2, since_s=since_s), "high", "a")
    held = [(job, run) for job in jobs(2)]
    waiting.backlog.extend(held)
    assert list(take_back([waiting], shards, NOW_S)) == held * taken
    assert list(waiting.backlog) == held * (not taken)
