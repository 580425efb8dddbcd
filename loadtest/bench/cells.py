"""What the tables of results are made of: rows, cells, and the results of another machine. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Results = Mapping[str, Mapping[str, Any]]
Rows = Sequence[Sequence[str]]

# results whose names begin so are of a machine whose memory answers slowly
SLOW: Final = "slow-memory/"


def table(head: Sequence[str], rows: Rows) -> str:
    """All columns but the first are figures, which stand to the right."""
    edges = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, edges, *rows))


def many(number: float) -> str:
    return f"{number:,.0f}"


def command(result: Mapping[str, Any]) -> str:
    """As it was typed, without where its output went."""
    return f"`{re.sub(r' --json [^ ]+', '', result['machine']['command'])}`"


def on_slow_memory(results: Results) -> Results:
    """Those of the machine whose memory is slow, by the names that the first machine's have."""
    return {name.removeprefix(SLOW): result for name, result in results.items() if name.startswith(SLOW)}
