"""What a process counts about itself, in memory that it shares with whoever shows it.

Each kind of process has a ``Table`` of measures, each process a ``Sheet`` of numbers laid out by that table, and a
``Board`` holds the sheets of a supervisor's children. It is made before the first fork, so that counting is an addition
to a word of memory: no lock, since a sheet has one writer, no file and no call. A process that is started again has the
sheet of the one that died, so its counters go on and never fall; its gauges begin anew.

Labels have a fixed set of values, of which the last stands for whatever is not among them: what may be said of a push
is open, and what a reader of metrics can bear is not.
"""

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

_WORD: Final = 8
# of a histogram, behind its buckets: what is above the last bound, and the sum
_BEYOND: Final = 2

# from a millisecond to the quarter of an hour that Apple advises to wait after an error of its own
SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
)


class Kind(StrEnum):
    """Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Measure:
    """One thing that is measured. ``label`` has one of ``values``; a histogram has ``bounds``, in ascending order.

    ``at`` is its first word in a sheet, and is set by the one table that it is in.
    """

    __slots__ = ("at", "bounds", "kind", "label", "name", "places", "text", "values")

    def __init__(
        self,
        kind: Kind,
        name: str,
        text: str,
        *,
        label: str = "",
        values: Sequence[str] = ("",),
        bounds: Sequence[float] = (),
    ) -> None:
        self.kind = kind
        self.name = name
        self.text = text
        self.label = label
        self.values = tuple(values)
        self.bounds = tuple(bounds)
        self.places = {value: place for place, value in enumerate(self.values)}
        self.at = -1

    def __repr__(self) -> str:
        return f"<Measure {self.kind} {self.name}>"

    @property
    def words(self) -> int:
        return len(self.bounds) + _BEYOND if self.kind is Kind.HISTOGRAM else len(self.values)


class Table:
    """The measures of one kind of process, in the order of their words."""

    def __init__(self, *measures: Measure) -> None:
        self.words = 0
        self.measures = measures
        for measure in measures:
            if measure.at != -1:
                raise ValueError(f"{measure.name} is in another table already")
            measure.at = self.words
            self.words += measure.words

    def __repr__(self) -> str:
        return f"<Table {len(self.measures)} measures, {self.words} words>"


class Sheet:
    """The numbers of one process. Without ``words`` it keeps them to itself, and nobody will read them."""

    def __init__(self, table: Table, words: "memoryview[float] | None" = None) -> None:
        self.table = table
        self._words = memoryview(bytearray(table.words * _WORD)).cast("d") if words is None else words

    def __repr__(self) -> str:
        return f"<Sheet of {self.table!r}>"

    def begin(self) -> None:
        """To be called by a process as it starts: gauges of the one before it say nothing any more."""
        for measure in self.table.measures:
            if measure.kind is Kind.GAUGE:
                for place in range(measure.words):
                    self._words[measure.at + place] = 0.0

    def add(self, measure: Measure, count: float = 1, value: str = "") -> None:
        """So many more."""
        self._words[measure.at + measure.places.get(value, len(measure.values) - 1)] += count

    def set(self, measure: Measure, number: float, value: str = "") -> None:
        """It is so now."""
        self._words[measure.at + measure.places.get(value, len(measure.values) - 1)] = number

    def observe(self, measure: Measure, number: float, count: float = 1) -> None:
        """It was so, so many times."""
        words, at, bounds = self._words, measure.at, measure.bounds
        words[at + bisect_left(bounds, number)] += count
        words[at + len(bounds) + 1] += number * count

    def read(self, measure: Measure) -> list[float]:
        """Its words: a number for each value; or one for each bucket, not cumulated, what is beyond, and the sum."""
        return list(self._words[measure.at : measure.at + measure.words])


class Board:
    """The sheets of a supervisor's children, by name; all are to be added before the first fork."""

    def __init__(self) -> None:
        self._sheets: dict[str, Sheet] = {}

    def __repr__(self) -> str:
        return f"<Board {' '.join(self._sheets)}>"

    def __iter__(self) -> Iterator[tuple[str, Sheet]]:
        return iter(self._sheets.items())

    def add(self, name: str, table: Table) -> Sheet:
        """A sheet for one more child."""
        sheet = self._sheets[name] = Sheet(table, memoryview(mmap.mmap(-1, table.words * _WORD)).cast("d"))
        return sheet


def starts() -> Measure:
    """What counts the starts of a kind of process; for its table."""
    return Measure(Kind.COUNTER, "clarion_process_starts", "Starts of the process.")


def begun(sheet: Sheet | None, table: Table, started: Measure) -> Sheet:
    """The sheet to count on, of a process that starts; one that nobody reads, if there is none."""
    sheet = Sheet(table) if sheet is None else sheet
    sheet.begin()
    sheet.add(started)
    return sheet
