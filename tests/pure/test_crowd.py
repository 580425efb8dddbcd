"""How many connections a process takes."""

import pytest

from ingest.crowd import places


@pytest.mark.parametrize(
    ("descriptors", "served", "answered"),
    [(20_000, 19_744, 19_872), (1_024, 768, 896), (100, 75, 88), (-1, float("inf"), float("inf"))],
)
def test_a_quarter_of_the_descriptors_is_spared_and_no_more_than_a_process_needs(
    descriptors: int, served: float, answered: float
) -> None:
    assert places(descriptors) == (served, answered)
