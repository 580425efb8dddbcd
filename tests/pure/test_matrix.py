"""How many workers and links the matrix says to choose."""

import pytest

from loadtest.bench.matrix import Cell, choose
from loadtest.bench.tenants_verdict import Drain


def cell(workers: int, links: int, *rates: int) -> Cell:
    return Cell(workers, links, [Drain(rate, 1.0, 1.0, 1.0, 1.0) for rate in rates], 0.02, 0)


@pytest.mark.parametrize(
    ("cells", "chosen"),
    [
        ([cell(1, 1, 100)], (1, 1)),
        ([cell(1, 1, 100), cell(2, 1, 200)], (2, 1)),
        # nearly the best is good enough, with fewer workers first and then fewer links
        ([cell(2, 1, 200), cell(1, 8, 191), cell(2, 8, 199)], (1, 8)),
        ([cell(1, 8, 189), cell(2, 4, 200), cell(2, 1, 191), cell(3, 1, 199)], (2, 1)),
        # by the median of its drains
        ([cell(1, 1, 100, 900, 100), cell(2, 1, 200, 200, 0)], (2, 1)),
    ],
)
def test_the_least_that_is_as_good_as_the_best_is_chosen(cells: list[Cell], chosen: tuple[int, int]) -> None:
    found = choose(cells)
    assert (found.workers, found.links) == chosen
