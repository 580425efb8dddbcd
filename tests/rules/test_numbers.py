"""Each field failure and each trap has a test that carries its number, so that a promise to survive it stays true.

The failures S1 to S37 are what APNs, or the way to it, was seen to do; the simulator plays them by number. The traps T1
to T16 are what gateways and client libraries were seen to do wrong. A test carries a number in front of its name:
``test_s14_t7_what_a_goaway_disowns_…``, ``test_s10_and_s12_…``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from loadtest.simulator.scenarios import SCENARIOS

TESTS = Path(__file__).resolve().parents[1]

TRAPS = {
    "T1": "a job is struck off the queue before it was sent, and lost with its worker",
    "T2": "pushes for sandbox and for production share a client, and some reach the wrong one",
    "T3": "a full queue makes its caller wait for ever, or fail in an unforeseen way",
    "T4": "dead device tokens are reported in a shortened form that nobody can act on, or logged in full",
    "T5": "no expiration becomes 0, or 0 can't be said",
    "T6": "a stream that was reset is waited for without end",
    "T7": "GOAWAY ends everything, and what APNs had accepted is sent again",
    "T8": "a stream limit that has sunk to one stays there, or is not kept to",
    "T9": "the window of a connection bounds its rate on a long way, and no other is opened",
    "T10": "one tenant's trouble with APNs holds all others up, and fills the memory",
    "T11": "each process, or connection, makes a provider token of its own",
    "T12": "device tokens and keys are in the logs",
    "T13": "each attempt of a push has another apns-id",
    "T14": "a push that kills its worker is tried for ever",
    "T15": "a push is said to be accepted before the queue has it",
    "T16": "a worker that stood still goes on with what has been given to another",
}

_NUMBERED = re.compile(r"test_((?:[st]\d+_(?:and_)?)+)")


def numbers_of(name: str) -> set[str]:
    """The numbers that a test function carries in front of its name."""
    carried = _NUMBERED.match(name)
    return set(re.findall(r"[ST]\d+", carried[1].upper())) if carried else set()


def carried() -> dict[str, set[str]]:
    """Number → the tests that carry it, with their files."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in numbers_of(node.name):
                    found.setdefault(number, set()).add(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def test_every_field_failure_and_every_trap_has_a_test_and_no_test_carries_another_number() -> None:
    assert sorted(carried()) == sorted([*SCENARIOS, *TRAPS])


def test_the_numbers_go_without_a_gap() -> None:
    assert list(SCENARIOS) == [f"S{number}" for number in range(1, 38)]
    assert list(TRAPS) == [f"T{number}" for number in range(1, 17)]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_s1_a_burst", {"S1"}),
        ("test_s14_t7_what_a_goaway_disowns", {"S14", "T7"}),
        ("test_s10_and_s12_a_hundred", {"S10", "S12"}),
        ("test_a_push_is_sent_as_in_s3_once", set()),
        ("test_s3", set()),
        ("s3_what", set()),
        ("test_t_is_no_number", set()),
    ],
)
def test_a_number_is_read_off_the_front_of_a_name(name: str, numbers: set[str]) -> None:
    assert numbers_of(name) == numbers
