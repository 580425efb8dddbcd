"""``report``: puts the benchmarks' last results into the documents: tables into Markdown, and charts beside them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import orjson

from loadtest.bench.cells import Results
from loadtest.bench.tables import with_figures
from loadtest.programs import TOP

RESULTS: Final = TOP / "docs" / "results"
CHARTS: Final = TOP / "docs" / "charts"
DOCUMENTS: Final = (TOP / "README.md", TOP / "docs" / "performance.md")
NO_CHARTS: Final = (
    "no charts were drawn, since matplotlib is not installed: .venv/bin/python -m pip install -e '.[report]'"
)


def read_results(directory: Path = RESULTS) -> Results:
    """By the names of their files, such as ``drain`` and ``slow-memory/drain``."""
    return {
        file.relative_to(directory).with_suffix("").as_posix(): orjson.loads(file.read_bytes())
        for file in sorted(directory.rglob("*.json"))
    }


def run() -> list[str]:
    """What was made, in words."""
    results = read_results()
    done = [_renewed(document, results) for document in DOCUMENTS]
    return [*done, *_drawn(results)]


def _renewed(document: Path, results: Results) -> str:
    before = document.read_text()
    after = with_figures(before, results)
    if after != before:
        document.write_text(after)
    return f"{document.relative_to(TOP)}: {'as it was' if after == before else 'made anew'}"


def _drawn(results: Results) -> Sequence[str]:
    if find_spec("matplotlib") is None:
        return [NO_CHARTS]
    # only now: whoever measures needs no matplotlib
    from loadtest.bench.charts import draw

    return [str(file.relative_to(TOP)) for file in draw(results, CHARTS)]
