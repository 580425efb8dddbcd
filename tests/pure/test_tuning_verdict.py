"""What a setting brings: medians of both sides, and a setting that makes worse what it is for is named."""

from collections.abc import Sequence

import pytest

from loadtest.bench.tuning_verdict import Figure, Measured, Unmeasured, Wish, failures, rounded, told
from tuning.profile import Kind


def measured(wish: Wish, without: Sequence[float], wanted: Sequence[float]) -> Measured:
    return Measured(Kind.SYSCTL, "net.x.y", "1", "0", Figure("a burst", "ms", wish), without, wanted)


@pytest.mark.parametrize(
    ("wish", "without", "wanted", "failed"),
    [
        ("less", [304.0, 300.0, 310.0], [104.0, 103.0, 900.0], False),
        ("less", [100.0, 100.0, 100.0], [119.0, 121.0, 110.0], False),
        ("less", [100.0, 100.0, 100.0], [121.0, 121.0, 110.0], True),
        ("less", [0.0], [0.0], False),
        ("less", [0.0], [1.0], True),
        ("more", [100.0], [200.0], False),
        ("more", [100.0], [81.0], False),
        ("more", [100.0], [79.0], True),
        # what a setting costs is no failure of it
        ("", [100.0], [1.0], False),
        ("", [1.0], [100.0], False),
    ],
)
def test_only_a_setting_that_makes_worse_what_it_is_for_is_named(
    wish: Wish, without: Sequence[float], wanted: Sequence[float], failed: bool
) -> None:
    assert bool(failures([measured(wish, without, wanted)])) is failed


def test_a_failure_says_both_figures_and_both_values() -> None:
    [said] = failures([measured("less", [100.0], [304.4])])
    assert said == "net.x.y 0: a burst: 304 ms, and 100 with 1"


def test_a_setting_is_told_with_the_median_and_each_run_of_both_values() -> None:
    found = told(
        [measured("less", [304.4, 300.2, 310.9], [1.2345])],
        [Unmeasured(Kind.SYSTEMD, "KillMode", "no systemd")],
    )
    assert found == {
        "settings": [
            {
                "kind": "sysctl",
                "name": "net.x.y",
                "what": "a burst",
                "unit": "ms",
                "without": {"value": "1", "median": 304, "runs": [304, 300, 311]},
                "with": {"value": "0", "median": 1.23, "runs": [1.23]},
            }
        ],
        "not_measured": [{"kind": "systemd", "name": "KillMode", "why": "no systemd"}],
        "failed": [],
    }


@pytest.mark.parametrize(
    ("number", "said"), [(0.0, 0.0), (1.23456, 1.23), (12.345, 12.3), (99.96, 100.0), (57748.02, 57748)]
)
def test_a_figure_has_the_digits_that_say_something(number: float, said: float) -> None:
    assert rounded(number) == said
