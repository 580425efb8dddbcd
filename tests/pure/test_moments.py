"""Times as a person writes them."""

import time
from datetime import UTC, datetime

import pytest

from engine.cli.errors import CommandError, in_options
from engine.cli.moments import clock, moment_ms, span_s
from shards.administration.checks import ActionRefused


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("1.5h", 5_400)]
)
def test_a_span_has_a_unit(text: str, seconds: float) -> None:
    assert span_s("--after", text) == seconds


@pytest.mark.parametrize("text", ["", "90", "h", "-1h", "1 h", "1y", "1e3s", "９s", "1h30m"])
def test_what_is_no_span_is_told_with_examples(text: str) -> None:
    with pytest.raises(
        CommandError, match=r"--after can't be read: write a number with its unit, such as 90s"
    ):
        span_s("--after", text)


def test_a_moment_is_a_date_or_a_time_or_a_span_from_now() -> None:
    assert moment_ms("--not-after", "2027-01-31T18:00+01:00") == 1_801_414_800_000
    assert moment_ms("--not-after", "2027-01-31T17:00Z") == 1_801_414_800_000
    # without a zone it is this machine's
    local = datetime.fromtimestamp(moment_ms("--not-after", "2027-01-31") / 1000, UTC).astimezone()
    assert (local.year, local.month, local.day, local.hour) == (2027, 1, 31, 0)
    before_ms = time.time() * 1000
    assert moment_ms("--not-after", "1d") >= before_ms + 86_400_000 - 1
    assert moment_ms("--not-after", "never") == moment_ms("--not-after", None) == 0


@pytest.mark.parametrize(
    "text", ["tomorrow", "31.01.2027", "2027-13-01", "1767225600", "0001-01-01T00:00+23:59"]
)
def test_what_is_no_moment_is_told_with_examples(text: str) -> None:
    with pytest.raises(CommandError, match="--not-after can't be read: write a date such as 2027-01-31"):
        moment_ms("--not-after", text)


def test_a_moment_is_shown_to_the_minute_and_none_as_never() -> None:
    assert clock(0) == "never"
    assert clock(moment_ms("AT", "2027-01-31T18:00")) == "2027-01-31 18:00"


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("limits/weight", "--weight"),
        ("limits/send_per_s", "--send-per-s"),
        ("credential/key", "--key-file"),
        ("credential/topics/0", "--topic"),
        ("applications/1", "--topic"),
        ("not_after_ms", "--not-after"),
        ("name", "the name"),
    ],
)
def test_a_field_that_is_wrong_is_told_as_the_option(field: str, option: str) -> None:
    assert in_options(ActionRefused(field, "can't be: write another")) == f"{option} can't be: write another"
    assert in_options(ActionRefused("", "it stands in the way")) == "it stands in the way"
