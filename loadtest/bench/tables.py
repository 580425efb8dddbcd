"""The figures in the documents, as Markdown tables made of the benchmarks' results; so a figure is never typed. Pure.

A document says where a table belongs:

    <!-- figures: NAME -->
    … whatever stands here is replaced …
    <!-- end -->
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loadtest.bench.cells import Results, many, on_slow_memory, table
from loadtest.bench.headline import headline

_PLACE: Final = re.compile(r"<!-- figures: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def with_figures(document: str, results: Results) -> str:
    """The document with its tables made anew. Raises KeyError naming a table, or a result, that there is not."""

    def made(place: re.Match[str]) -> str:
        name = place["name"]
        return f"<!-- figures: {name} -->\n{TABLES[name](results)}<!-- end -->"

    return _PLACE.sub(made, document)


def _budgets(results: Results) -> str:
    sides = [_costs(each) for each in (results, on_slow_memory(results))]
    parts = (
        ("engine, every feature on", "10 µs"),
        ("Redis, enqueue included", "4 µs"),
        ("ingest, batches of 500", "5 µs"),
        ("ingest, single requests", "60 µs"),
    )
    rows = [(*part, *(f"{us:.1f} µs" for us in costs)) for part, *costs in zip(parts, *sides, strict=True)]
    return table(("part", "budget", "seen", "where memory is slow"), rows)


def _costs(results: Results) -> Sequence[float]:
    drain, ingest = results["drain"], results["ingest"]
    return (
        drain["engine_us_per_push"],
        drain["redis_us_per_push"] + drain["redis_us_per_push_enqueued"],
        ingest["batch_us_per_push"],
        ingest["single_us_per_push"],
    )


def _e2e(results: Results) -> str:
    percentiles = ("mean", "p50", "p90", "p99", "p999")
    rows = [
        (
            f"{many(phase['offered_per_s'])}/s, {phase['batch']} in a request{where}",
            *(f"{phase[f'{name}_ms']:.1f}" for name in percentiles),
            *(f"{_part(phase, part):.1f}" for part in ("ingest", "redis", "worker", "sink", "load")),
        )
        for where, each in (("", results), (", where memory is slow", on_slow_memory(results)))
        for phase in each["e2e"]["phases"].values()
    ]
    parts = ("ingest µs", "Redis µs", "engine µs", "sink µs", "load µs")
    return table(("offered", *(f"{name} ms" for name in percentiles), *parts), rows)


def _part(phase: Mapping[str, Any], part: str) -> float:
    costs = phase["us_per_push"]
    return float(sum(us for name, us in costs.items() if name.partition("-")[0] == part))


def _rtt(results: Results) -> str:
    rows = [
        (
            f"{case['rtt_ms']:g} ms, {case['payload_bytes']:,} bytes",
            many(case["pushes_per_s"]),
            f"{case['links']:.0f}",
            f"{100 * case['share_of_windows']:.0f} %" if case["share_of_windows"] else "",
            f"{100 * case['cpus_busy']:.0f} %",
        )
        for case in results["rtt"]["cases"]
    ]
    return table(
        ("round trip and payload", "pushes/s", "links", "of what their windows allow", "CPUs busy"), rows
    )


def _growth(what: str, series: str) -> Callable[[Results], str]:
    def of(results: Results) -> str:
        rows = [
            (
                many(point["size"]),
                f"{point['engine_us_per_push']:.1f}",
                f"{point['redis_us_per_push']:.1f}",
                f"{point['times_the_first']:.2f}",
                many(point["pushes_per_s"]),
                f"{point['worker_rss_mib']:.0f}",
                many(point["redis_mib"]),
            )
            for point in on_slow_memory(results)["growth"][series]
        ]
        head = (what, "engine µs", "Redis µs", "times the first", "pushes/s", "worker MiB", "Redis MiB")
        return table(head, rows)

    return of


def _matrix(results: Results) -> str:
    cells = results["matrix"]["cells"]
    rows = [
        (
            f"{cell['workers']} × {cell['links']}",
            many(cell["pushes_per_s"]),
            f"{cell['trip_ms']:.0f}",
            f"{cell['engine_cpu_percent']:.0f} %",
            f"{cell['engine_us_per_push']:.1f}",
        )
        for cell in cells
    ]
    return table(("workers × links", "pushes/s", "ms at APNs", "engine's CPU", "engine µs"), rows)


def _campaign(results: Results) -> str:
    rows = []
    for size in on_slow_memory(results)["campaign"]["sizes"]:
        kinds = (size["single"], size["campaign"])
        rows.append(
            (
                f"{many(size['payload_bytes'])} bytes",
                *(many(kind["pushes_per_s"]) for kind in kinds),
                f"{size['rate_times']:.2f}",
                *(f"{kind['engine_us_per_push']:.1f}" for kind in kinds),
                *(f"{kind['redis_us_per_push']:.1f}" for kind in kinds),
                f"{size['memory_times']:.2f}",
            )
        )
    both = ("engine µs, one by one", "in campaigns", "Redis µs, one by one", "in campaigns")
    head = ("payload", "pushes/s one by one", "in campaigns", "times", *both, "times the memory")
    return table(head, rows)


def _stages(results: Results) -> str:
    rows = [(stage, f"{percent:.0f} %") for stage, percent in results["drain"]["stages"].items()]
    return table(("stage", "of a worker's CPU"), rows)


def _peers(results: Results) -> str:
    rows = []
    slow = on_slow_memory(results)["peers"]["peers"]
    for name, peer in results["peers"]["peers"].items():
        settings = ", ".join(
            f"{value} {what}" for what, value in peer["settings"].items() if what != "pushes"
        )
        rows.append(
            (
                f"{name} ({settings})",
                many(peer["pushes_per_s"]),
                f"{peer['us_per_push']:.1f}",
                _times(peer),
                _times(slow[name]),
            )
        )
    head = ("who", "pushes/s", "CPU µs a push", "Clarion's rate to it", "where memory is slow")
    return table(head, rows)


def _times(peer: Mapping[str, Any]) -> str:
    """Clarion's rate to that of a peer; "" if one of them has none."""
    return f"{peer['clarion_times']:.2f}" if peer["clarion_times"] else ""


def _tuning(results: Results) -> str:
    tuning = on_slow_memory(results)["tuning"]
    rows = [
        (
            f"`{each['name']}`",
            each["what"],
            *(_with_value(each[side], each["unit"]) for side in ("without", "with")),
        )
        for each in tuning["settings"]
    ]
    rows += [(f"`{each['name']}`", f"not measured: {each['why']}", "", "") for each in tuning["not_measured"]]
    return table(("setting", "what was measured", "without", "with"), rows)


def _with_value(side: Mapping[str, Any], unit: str) -> str:
    """What came of a value, and the value."""
    figure, value = side["median"], side["value"]
    number = many(figure) if figure == int(figure) else f"{figure:,}"
    return f"{number} {unit} ({f'`{value}`' if value else 'empty'})"


TABLES: Final[Mapping[str, Callable[[Results], str]]] = {
    "headline": headline,
    "budgets": _budgets,
    "e2e": _e2e,
    "rtt": _rtt,
    "backlogs": _growth("jobs waiting", "backlogs"),
    "tenants": _growth("tenants", "tenants"),
    "matrix": _matrix,
    "campaign": _campaign,
    "stages": _stages,
    "peers": _peers,
    "tuning": _tuning,
}
