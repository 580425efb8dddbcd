"""``fairness``: what tenants that share a gateway cost one another, with a sink that remembers who came when.

Two questions, each in a module of its own: whether tenants are served by their weights (``weights``), and what one
tenant's backlog costs its neighbours (``neighbours``).
"""

from dataclasses import dataclass
from typing import Any, Final

from cyclopts import Parameter

from loadtest.bench import neighbours, weights
from loadtest.bench.neighbours import NeighboursOptions
from loadtest.bench.weights import WeightsOptions
from shards.tenants import DEFAULT_SHARDS

USUAL_SPREAD: Final = 4


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FairnessOptions(NeighboursOptions, WeightsOptions):
    """How much of what."""


def run(options: FairnessOptions) -> dict[str, Any]:
    """One run. Its ``failed`` names what the verdict found wrong, and is empty when all is well.

    Shares are judged when the tenants' devices are hashed over all shards, so that all three stand in every ring; they
    are reported also for the usual spread, with which tenants share few rings or none, and each is served as the
    workers that hold its shards are free.
    """
    everywhere, unfair = weights.run(options, DEFAULT_SHARDS)
    usual, _ = weights.run(options, USUAL_SPREAD)
    beside, disturbed = neighbours.run(options)
    return {
        "weights": everywhere,
        "weights_usual_spread": usual,
        "neighbours": beside,
        "options": options.told(),
        "failed": [*unfair, *disturbed],
    }
