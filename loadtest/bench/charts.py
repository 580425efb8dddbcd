"""Charts of the benchmarks' results, as SVG files (matplotlib)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context, use
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from loadtest.bench.cells import SLOW, Results

SIZE_INCHES: Final = (7.0, 3.6)
INK: Final = "#1f3b57"
# told apart in print, and by those who see fewer colours (Okabe and Ito, 2008)
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
# matplotlib's own type for it names each of its settings
_STYLE: Final[Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "grid.color": "#dde3ea",
    "svg.fonttype": "none",
    # the same results make the same file
    "svg.hashsalt": "clarion",
}


def draw(results: Results, directory: Path) -> list[Path]:
    """All charts for which there are results; returns their files."""
    use("svg")
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (needed, plot) in CHARTS.items():
        if needed in results:
            made.append(_drawn(directory / f"{name}.svg", results[needed], plot))
    return made


def _drawn(file: Path, result: Mapping[str, Any], plot: "Plot") -> Path:
    with rc_context(_STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        plot(axes, result)
        figure.savefig(file, metadata={"Date": None})
    return file


def _latency(axes: Axes, result: Mapping[str, Any]) -> None:
    names = ("p50", "p90", "p99", "p999")
    for colour, phase in zip(COLOURS, result["phases"].values(), strict=False):
        label = f"{phase['offered_per_s']:,}/s, {phase['batch']} in a request"
        axes.plot(names, [phase[f"{name}_ms"] for name in names], marker="o", color=colour, label=label)
    axes.set_ylabel("ms from the API to APNs' answer")
    axes.set_ylim(bottom=0)
    axes.set_title("From when a request was due to the answer of APNs")
    axes.legend(frameon=False)


def _costs(axes: Axes, points: Any, what: str, title: str) -> None:
    sizes = [point["size"] for point in points]
    for colour, part, name in zip(COLOURS, ("engine", "redis"), ("engine", "Redis"), strict=False):
        costs = [point[f"{part}_us_per_push"] for point in points]
        axes.plot(sizes, costs, marker="o", color=colour, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(what)
    axes.set_ylabel("CPU µs a push")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.legend(frameon=False)


def _backlogs(axes: Axes, result: Mapping[str, Any]) -> None:
    _costs(axes, result["backlogs"], "jobs waiting", "What a push costs as the backlog grows")


def _tenants(axes: Axes, result: Mapping[str, Any]) -> None:
    teams = result["options"]["teams_most"]
    _costs(
        axes, result["tenants"], f"tenants, of {teams} teams at most", "What a push costs with more tenants"
    )


def _rtt(axes: Axes, result: Mapping[str, Any]) -> None:
    cases = [case for case in result["cases"] if case["rtt_ms"]]
    for colour, size in zip(COLOURS, sorted({case["payload_bytes"] for case in cases}), strict=False):
        own = [case for case in cases if case["payload_bytes"] == size]
        ways = [case["rtt_ms"] for case in own]
        rates = [case["pushes_per_s"] for case in own]
        axes.plot(ways, rates, marker="o", color=colour, label=f"{size:,} bytes")
        for case in own:
            place = (case["rtt_ms"], case["pushes_per_s"])
            axes.annotate(f"{case['links']:.0f}", place, textcoords="offset points", xytext=(4, 4), color=INK)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("round trip, ms")
    axes.set_ylabel("pushes/s")
    axes.set_title("Windows of 65,535 bytes over long ways; numbers: links opened")
    axes.legend(frameon=False, title="payload")


def _peers(axes: Axes, result: Mapping[str, Any]) -> None:
    ranked = sorted(result["peers"].items(), key=lambda each: float(each[1]["pushes_per_s"]))
    names = [name for name, _ in ranked]
    rates = [peer["pushes_per_s"] for _, peer in ranked]
    colours = [COLOURS[1] if name == "clarion" else COLOURS[0] for name in names]
    bars = axes.barh(names, rates, color=colours)
    axes.bar_label(bars, labels=[f"{rate:,}" for rate in rates], padding=4)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("pushes/s to the same nginx, on the same two CPUs")
    axes.set_title("Clarion and its queue beside other ways of sending")
    axes.margins(x=0.15)


def _matrix(axes: Axes, result: Mapping[str, Any]) -> None:
    cells = result["cells"]
    for colour, workers in zip(COLOURS, sorted({cell["workers"] for cell in cells}), strict=False):
        own = [cell for cell in cells if cell["workers"] == workers]
        label = "1 worker" if workers == 1 else f"{workers} workers"
        links = [cell["links"] for cell in own]
        axes.plot(links, [cell["pushes_per_s"] for cell in own], marker="o", color=colour, label=label)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("links of each worker")
    axes.set_ylabel("pushes/s")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Workers and links, over a round trip of {result['options']['rtt_ms']:g} ms")
    axes.legend(frameon=False)


Plot = Callable[[Axes, Mapping[str, Any]], None]

# file → the result that it needs, and how it is drawn
CHARTS: Final[Mapping[str, tuple[str, Plot]]] = {
    "latency": ("e2e", _latency),
    "backlogs": (f"{SLOW}growth", _backlogs),
    "tenants": (f"{SLOW}growth", _tenants),
    "rtt": ("rtt", _rtt),
    "peers": ("peers", _peers),
    "matrix": ("matrix", _matrix),
}
