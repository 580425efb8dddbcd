"""How often the same line is said."""

import logging

from engine.cli.log import AGAIN_AFTER_S, REMEMBERED_MOST, Seldom


def told(seldom: Seldom, at_s: float, message: str, *args: object, exc_info: bool = False) -> str | None:
    """What is let through of a line that is logged at this time."""
    error = (ValueError, ValueError(), None) if exc_info else None
    record = logging.LogRecord("clarion.x", logging.WARNING, "x.py", 1, message, args, error)
    record.created = at_s
    return record.getMessage() if seldom.filter(record) else None


def test_a_line_that_comes_again_is_said_once_a_minute_with_how_often_it_came() -> None:
    seldom = Seldom()
    assert told(seldom, 0.0, "no %s", "Redis") == "no Redis"
    assert [told(seldom, at_s, "no Redis") for at_s in (1.0, 2.0, AGAIN_AFTER_S - 1)] == [None] * 3
    assert told(seldom, AGAIN_AFTER_S, "no Redis") == "no Redis (3 times more since this was said)"
    assert told(seldom, 2 * AGAIN_AFTER_S, "no Redis") == "no Redis"


def test_what_differs_and_every_traceback_are_said() -> None:
    seldom = Seldom()
    assert told(seldom, 0.0, "%d pushes wait", 1) and told(seldom, 0.0, "%d pushes wait", 2)
    assert told(seldom, 0.0, "died", exc_info=True) and told(seldom, 0.0, "died", exc_info=True)


def test_it_remembers_so_many_lines() -> None:
    seldom = Seldom()
    for number in range(3 * REMEMBERED_MOST):
        assert told(seldom, 0.0, f"line {number}")
    assert len(seldom._said) <= REMEMBERED_MOST
