"""What Locust's users make of an answer: each push has one fate, and what breaks the API's promises is wrong."""

from typing import Any

import msgspec
import pytest

from ingest.problems import KINDS, Code, problem
from loadtest.bench.steady import Exchange
from loadtest.swarm.answers import JSON, PROBLEM, Answer, Finding, read_batch, read_single
from shards.problem import Refusal

IDS = [f"0198c0de-0000-7000-8000-{number:012x}" for number in range(4)]


def said(status: int, body: Any, content_type: str = JSON, retry_after: str = "") -> Answer:
    return Answer(status, msgspec.json.encode(body), content_type, retry_after)


def refused(code: Code, retry_after: str = "", /, **changes: Any) -> Answer:
    document = msgspec.to_builtins(problem(Refusal(code, "because"))) | changes
    return said(KINDS[code].status, document, PROBLEM, retry_after)


def results(*items: str | Code) -> list[dict[str, Any]]:
    return [
        {"error": problem(Refusal(item, "because"))} if isinstance(item, Code) else {"id": item}
        for item in items
    ]


def batch(*items: str | Code, **changes: Any) -> Answer:
    bad = sum(isinstance(item, Code) for item in items)
    body = {"accepted": len(items) - bad, "refused": bad, "results": results(*items)} | changes
    return said(207 if bad else 202, body)


def test_a_single_push_that_is_accepted_has_an_id() -> None:
    found = read_single(said(202, {"id": IDS[0]}, "application/json; charset=utf-8"))
    assert found == Finding(ids=IDS[0].encode())
    assert (found.accepted, found.failure, found.back_pressure) == (1, "", "")


def test_a_batch_that_is_accepted_has_an_id_for_each_push_in_order() -> None:
    assert read_batch(batch(*IDS), 4) == Finding(ids="".join(IDS).encode())


@pytest.mark.parametrize("code", Code)
def test_every_problem_of_the_api_is_understood_by_its_code(code: Code) -> None:
    status = KINDS[code].status
    found = read_single(refused(code, "2" if status in (429, 503) else ""))
    name = f"{status} {code}"
    if code is Code.STORE_IN_DOUBT:
        assert found == Finding(in_doubt=1, back_pressure=name, retry_after_s=2)
    elif status in (429, 503):
        assert found == Finding(held_back={name: 1}, back_pressure=name, retry_after_s=2)
    else:
        assert found == Finding(refused={name: 1})
    assert bool(found.failure) is (status not in (429, 503))


def test_a_batch_that_is_held_back_is_so_with_all_its_pushes() -> None:
    found = read_batch(refused(Code.RATE_LIMITED, "1"), 500)
    assert (found.held_back, found.in_doubt, found.failure) == ({"429 rate-limited": 500}, 0, "")


def test_in_a_batch_each_push_has_its_own_fate() -> None:
    answer = batch(IDS[0], Code.QUEUE_FULL, Code.BAD_PAYLOAD, Code.QUEUE_FULL, Code.STORE_IN_DOUBT)
    found = read_batch(answer, 5)
    assert found.ids == IDS[0].encode()
    assert (found.held_back, found.refused) == ({"429 queue-full": 2}, {"422 bad-payload": 1})
    assert (found.in_doubt, found.back_pressure) == (1, "429 queue-full, 503 store-in-doubt")
    assert found.failure == "refused: 422 bad-payload"


def test_a_batch_of_which_a_part_is_held_back_is_no_failure() -> None:
    found = read_batch(batch(*IDS[:2], Code.QUEUE_FULL), 3)
    assert (found.accepted, found.back_pressure, found.failure) == (2, "429 queue-full", "")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (batch(*IDS[:2]), "another number of results"),
        (batch(*IDS[:3], accepted=2), "the counts"),
        (batch(*IDS[:3], refused=1), "the counts"),
        (batch(*IDS[:2], IDS[1]), "an id twice"),
        (batch(*IDS[:2], IDS[2].upper()), "a malformed id"),
        (batch(*IDS[:2], IDS[2][:-1]), "a malformed id"),
        (batch(*IDS[:2], IDS[2] + "\n"), "a malformed id"),
        (batch(*IDS[:2], ""), "a result with no fate"),
        (
            batch(*IDS[:2], results=[*results(*IDS[:2]), results(Code.QUEUE_FULL)[0] | {"id": IDS[2]}]),
            "a result with no fate or two",
        ),
        (batch(*IDS[:2], Code.QUEUE_FULL)._replace(status=202), "202 is for all"),
        (batch(*IDS[:3])._replace(status=207), "202 is for all"),
        (batch(*IDS[:3])._replace(status=200), "a status that the API does not know"),
        (batch(*IDS[:3])._replace(content_type="text/html"), "not application/json"),
        (batch(*IDS[:3])._replace(body=b"{"), "the body is not"),
        (said(202, {"id": IDS[0]}), "the body is not"),
        (refused(Code.RATE_LIMITED), "no Retry-After"),
        (refused(Code.TOO_BUSY), "no Retry-After"),
        (refused(Code.RATE_LIMITED, "soon"), "Retry-After is not in seconds"),
        (refused(Code.RATE_LIMITED, "-1"), "Retry-After is not in seconds"),
        (refused(Code.BAD_PAYLOAD, status=400), "the document tells another status"),
        (refused(Code.BAD_PAYLOAD, code="Bad payload"), "a malformed code"),
        (refused(Code.BAD_PAYLOAD, detail=""), "does not explain itself"),
        (refused(Code.BAD_PAYLOAD)._replace(content_type=JSON), "not application/problem+json"),
        (said(500, {"message": "no"}, PROBLEM), "the body is not"),
        (Answer(502, b"<html>", "text/html"), "not application/problem+json"),
    ],
)
def test_what_breaks_a_promise_is_wrong_and_leaves_all_pushes_in_doubt(answer: Answer, wrong: str) -> None:
    found = read_batch(answer, 3)
    assert wrong in found.wrong and found.wrong.startswith(f"{answer.status}: ")
    assert found.failure == found.wrong
    assert found == Finding(in_doubt=3, wrong=found.wrong)


def test_a_single_push_has_no_207() -> None:
    assert "a status" in read_single(batch(IDS[0], Code.QUEUE_FULL)).wrong


def test_without_an_answer_all_is_in_doubt() -> None:
    assert read_batch(Answer(0, lost="TimeoutError"), 3) == Finding(
        in_doubt=3, wrong="no answer: TimeoutError"
    )


def test_nothing_that_was_sent_is_quoted() -> None:
    found = read_single(refused(Code.BAD_DEVICE_TOKEN, detail="secret", title="secret"))
    assert "secret" not in repr(found)


def test_the_log_has_the_fates_as_the_open_loop_load_writes_them() -> None:
    found = read_batch(batch(IDS[0], Code.QUEUE_FULL, Code.BAD_PAYLOAD, Code.STORE_IN_DOUBT), 4)
    assert list(found.exchanges(1.0, 2.0)) == [
        Exchange(1.0, 2.0, "accepted", 1, IDS[0].encode()),
        Exchange(1.0, 2.0, "refused", 2),
        Exchange(1.0, 2.0, "in_doubt", 1),
    ]
