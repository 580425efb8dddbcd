"""One process' part of a tenant's rate: what it takes in, when it asks, and what it says of it. Time is made up."""

import pytest
from bucket import Bucket

from ingest.rate import CHUNK_S, IDLE_S, PAUSE_S, Allowance, Take
from shards.grant import Ask, Grant
from shards.tenant import RATE_LEAST, Limits

LIMITS = Limits(admit_per_s=1_000.0)
NOW_S = 50.0


def allowance(limits: Limits = LIMITS) -> Allowance:
    return Allowance("acme", limits, NOW_S)


def granted(pushes: int, remaining: int = 500, wait_ms: int = 0, limits: Limits = LIMITS) -> Allowance:
    """An allowance that has just been granted so many, all that it wanted."""
    ours = allowance(limits)
    ask = ours.ask(pushes)
    ours.credit(ask._replace(want=pushes), Grant(pushes, remaining, wait_ms), NOW_S)
    return ours


def found_empty(left: int = 0, wait_ms: int = 1) -> Allowance:
    """An allowance that got so many and heard that there are no more."""
    ours = allowance()
    ours.credit(ours.ask(1), Grant(left, 0, wait_ms), NOW_S)
    return ours


def test_what_is_here_is_taken_in_without_asking_and_then_there_is_no_more() -> None:
    ours = granted(10)
    assert [ours.take(4, NOW_S) for _ in range(3)] == [Take.TAKEN, Take.TAKEN, Take.ASK]
    assert ours.left == 2


@pytest.mark.parametrize(
    ("per_s", "burst", "chunk"),
    [(1_000, 0, 250), (10, 0, 3), (1, 0, 1), (0.1, 0, 1), (1_000, 100, 50), (1_000, 1, 1), (8, 1_000, 2)],
)
def test_a_chunk_is_a_quarter_of_a_second_and_never_the_whole_bucket(
    per_s: float, burst: int, chunk: int
) -> None:
    ask = allowance(Limits(admit_per_s=per_s, admit_burst=burst)).ask()
    assert (ask.need, ask.want) == (0, chunk)
    assert ask.burst == (burst or max(1, per_s))


@pytest.mark.parametrize("per_s", [5e-324, 1e-320, 1e-9, RATE_LEAST])
def test_a_rate_that_was_stored_too_low_is_counted_as_the_least_that_may_be(per_s: float) -> None:
    ours = allowance(Limits(admit_per_s=per_s))
    bucket = Bucket()
    assert ours.take(1, NOW_S) is Take.ASK
    ask = ours.ask(1)
    assert ask.per_s == RATE_LEAST
    ours.credit(ask, bucket.answer(ask), NOW_S)
    assert ours.draw(1) and ours.take(1, NOW_S) is Take.OVER
    assert ours.full_in_s(NOW_S) == 1 / RATE_LEAST
    assert ours.headers(NOW_S).endswith('RateLimit: "tenant";r=0;t=1000\r\n')


def test_who_needs_something_asks_for_all_of_it_and_for_a_chunk_to_be_ahead() -> None:
    chunk = round(1_000 * CHUNK_S)
    assert allowance().ask(600, 20) == Ask("acme", 1_000.0, 1_000, need=600, want=620 + chunk)
    assert granted(40).ask(600, 20).want == 620 + chunk - 40


def test_it_asks_ahead_when_half_of_a_chunk_is_left_and_once_at_a_time() -> None:
    ours = granted(250)
    assert ours.take(125, NOW_S) is Take.TAKEN and not ours.runs_low(NOW_S)
    assert ours.take(1, NOW_S) is Take.TAKEN and ours.runs_low(NOW_S)
    ask = ours.ask()
    assert not ours.runs_low(NOW_S)
    ours.credit(ask, None, NOW_S)
    # without an answer a moment passes before the next try
    assert not ours.runs_low(NOW_S + PAUSE_S / 2) and ours.runs_low(NOW_S + PAUSE_S)


def test_a_bucket_that_is_empty_is_not_asked_until_it_can_have_something() -> None:
    ours = found_empty(wait_ms=400)
    assert ours.take(1, NOW_S + 0.399) is Take.OVER
    assert ours.take(5_000, NOW_S + 0.399) is Take.OVER
    assert ours.take(1, NOW_S + 0.401) is Take.ASK


def test_a_long_debt_is_looked_at_again_since_others_may_give_back() -> None:
    ours = found_empty(wait_ms=60_000)
    assert ours.take(1, NOW_S + IDLE_S * 0.99) is Take.OVER
    assert ours.take(1, NOW_S + IDLE_S) is Take.ASK


def test_small_requests_wait_for_the_next_chunk_while_a_large_one_asks_for_credit() -> None:
    ours = found_empty(wait_ms=1)
    small = round(1_000 * PAUSE_S)
    soon_s = NOW_S + PAUSE_S / 2
    assert ours.take(1, soon_s) is Take.OVER and ours.take(small, soon_s) is Take.OVER
    assert ours.take(small + 1, soon_s) is Take.ASK
    assert ours.take(1, NOW_S + PAUSE_S) is Take.ASK


def test_a_small_bucket_does_not_run_over_during_the_pause() -> None:
    ours = allowance(Limits(admit_per_s=1_000, admit_burst=4))
    ours.credit(ours.ask(1), Grant(1, 0, 1), NOW_S)
    ours.take(1, NOW_S)
    assert ours.take(1, NOW_S + 0.0009) is Take.OVER
    assert ours.take(1, NOW_S + 0.0011) is Take.ASK


def test_the_last_small_request_overdraws_what_is_here_and_that_is_paid_with_the_next_grant() -> None:
    ours = found_empty(left=3)
    assert ours.take(20, NOW_S) is Take.TAKEN
    assert ours.left == -17
    assert ours.take(1, NOW_S) is Take.OVER
    later_s = NOW_S + 1
    ask = ours.ask(100)
    assert (ask.need, ask.want) == (117, 100 + 250 + 17)
    ours.credit(ask, Grant(117, -50, 51), later_s)
    assert ours.take(100, later_s) is Take.TAKEN and ours.left == 0


def test_what_is_not_used_is_given_back_and_what_was_overdrawn_is_paid() -> None:
    ours = granted(30)
    assert ours.idle_s(NOW_S + IDLE_S) == IDLE_S
    assert ours.give_back() == Ask("acme", 1_000.0, 1_000, back=30)
    assert ours.left == 0
    ours = found_empty(left=1)
    assert ours.take(5, NOW_S) is Take.TAKEN
    assert ours.give_back().back == -4


def test_while_something_goes_back_nobody_is_over_the_rate_and_the_header_counts_it() -> None:
    ours = allowance(Limits(admit_per_s=0.001, admit_burst=10))
    ours.credit(ours.ask(300), Grant(300, -290, 291_000_000), NOW_S)
    ours.take(300, NOW_S)
    assert (ours.take(6, NOW_S), "r=0;" in ours.headers(NOW_S)) == (Take.OVER, True)
    # there was no room for the 300
    ours.restore(300)
    assert ours.has_spare() and "r=10;" in ours.headers(NOW_S)
    ask = ours.return_spare()
    assert (ask.back, ours.take(6, NOW_S), "r=10;" in ours.headers(NOW_S)) == (299, Take.ASK, True)
    ours.unreturned(ask, kept=True)
    assert (ours.left, "r=10;" in ours.headers(NOW_S)) == (300, True)
    ours.unreturned(ours.return_spare(), kept=False)
    assert (ours.left, "r=0;" in ours.headers(NOW_S)) == (1, True)


def test_without_an_answer_nobody_is_over_the_rate() -> None:
    ours = allowance()
    ours.credit(ours.ask(1), None, NOW_S)
    assert ours.take(1, NOW_S) is Take.ASK


def test_a_new_rate_holds_at_once() -> None:
    ours = found_empty(wait_ms=60_000)
    ours.regulate(Limits(admit_per_s=10.0, admit_burst=40), NOW_S)
    assert ours.take(1, NOW_S) is Take.ASK
    assert ours.ask() == Ask("acme", 10.0, 40, need=0, want=3)
    ours = granted(250)
    ours.regulate(Limits(admit_per_s=10.0, admit_burst=40), NOW_S)
    # what a higher rate had granted would be many seconds of this one
    assert ours.left == 3


@pytest.mark.parametrize(
    ("ours", "at_s", "policy", "rate"),
    [
        (allowance(), 0, "q=1000;w=1", "r=1000;t=0"),
        (allowance(Limits(admit_per_s=0.5)), 0, "q=1;w=1", "r=1;t=0"),
        (allowance(Limits(admit_per_s=10, admit_burst=600)), 0, "q=600;w=1", "r=600;t=0"),
        (granted(100, 400), 0, "q=1000;w=1", "r=500;t=1"),
        (granted(100, 400), 0.25, "q=1000;w=1", "r=750;t=1"),
        (granted(100, 400), 60, "q=1000;w=1", "r=1000;t=0"),
        (granted(0, -4_500), 0, "q=1000;w=1", "r=0;t=6"),
        (granted(0, -4_500), 5, "q=1000;w=1", "r=500;t=1"),
    ],
)
def test_the_headers_say_what_is_left_and_when_it_is_whole_again(
    ours: Allowance, at_s: float, policy: str, rate: str
) -> None:
    lines = ours.headers(NOW_S + at_s).split("\r\n")
    assert lines == [f'RateLimit-Policy: "tenant";{policy}', f'RateLimit: "tenant";{rate}', ""]
    assert ours.full_in_s(NOW_S + at_s) == int(rate.rpartition("=")[2])


class Process:
    """An ingest process whose calls take no time."""

    def __init__(self, bucket: Bucket, limits: Limits) -> None:
        self._bucket = bucket
        self._ours = Allowance("acme", limits, bucket.now_s)
        self.asked = 0

    def push(self, pushes: int) -> int:
        """How many of them are taken in."""
        taken = self._ours.take(pushes, self._bucket.now_s)
        if taken is Take.ASK:
            self._ask(pushes)
            taken = Take.TAKEN if self._ours.draw(pushes) else Take.OVER
        if taken is Take.TAKEN and self._ours.runs_low(self._bucket.now_s):
            self._ask(0)
        return pushes if taken is Take.TAKEN else 0

    def _ask(self, pushes: int) -> None:
        self.asked += 1
        ask = self._ours.ask(pushes)
        self._ours.credit(ask, self._bucket.answer(ask), self._bucket.now_s)


@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize("offered", [950, 3_000, 10_000])
@pytest.mark.parametrize(("burst", "asks_most"), [(1_000, 25), (4_000, 25), (50, 90)])
def test_processes_keep_the_rate_together_and_use_all_of_it(
    size: int, offered: int, burst: int, asks_most: int
) -> None:
    limits = Limits(admit_per_s=1_000, admit_burst=burst)
    bucket = Bucket()
    processes = [Process(bucket, limits) for _ in range(3)]
    seconds = 5
    taken = pushed = 0
    for step in range(1, seconds * 1_000 + 1):
        bucket.now_s += 0.001
        while (pushed + size) * 1_000 <= step * offered:
            taken += processes[(pushed // size) % 3].push(size)
            pushed += size
    if offered < 1_000:
        # of a small bucket much may stand aside in other processes
        assert taken == pushed if burst > 50 else taken > 0.99 * pushed
    else:
        # the last of each process may be a push on credit
        assert taken == pytest.approx(1_000 * seconds + burst, abs=3 * size + 60)
    # each asks for chunks, and not at each push
    assert sum(process.asked for process in processes) < 3 * seconds * asks_most


def test_a_large_batch_is_not_starved_by_small_pushes() -> None:
    bucket = Bucket()
    process, other = (Process(bucket, LIMITS) for _ in range(2))
    batches = tries = 0
    for step in range(14_000):
        bucket.now_s += 0.001
        for _ in range(5):
            process.push(1)
            other.push(1)
        if step % 700 == 350:
            tries += 1
            batches += process.push(2_000) > 0
    # each that is taken in leaves a debt of 2 s, which the next two or three meet
    assert (tries, batches) == (20, pytest.approx(7, abs=2))
