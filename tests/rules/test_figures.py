"""The figures in the documents are those of the results in the tree."""

from pathlib import Path

import pytest

from loadtest.bench.report import CHARTS, DOCUMENTS, read_results
from loadtest.bench.tables import with_figures


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_says_what_was_measured(document: Path) -> None:
    text = document.read_text()
    assert with_figures(text, read_results()) == text, "scripts/bench report makes the tables anew"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_chart_that_is_shown_is_there(document: Path) -> None:
    shown = [part.partition(")")[0] for part in document.read_text().split("](")[1:]]
    charts = [document.parent / place for place in shown if CHARTS.name in Path(place).parts]
    assert charts == [chart for chart in charts if chart.is_file()]
