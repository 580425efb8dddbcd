"""The figures in the documents, as Markdown tables made of the benchmarks' results; so a figure is never typed. Pure.

A document says where a table belongs:

    <!-- figures: NAME -->
    … whatever stands here is replaced …
    <!-- end -->
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Results = Mapping[str, Mapping[str, Any]]
Rows = Sequence[Sequence[str]]

_PLACE: Final = re.compile(r"<!-- figures: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def with_figures(document: str, results: Results) -> str:
    """The document with its tables made anew. Raises KeyError naming a table, or a result, that there is not."""

    def table(place: re.Match[str]) -> str:
        name = place["name"]
        return f"<!-- figures: {name} -->\n{TABLES[name](results)}<!-- end -->"

    return _PLACE.sub(table, document)


def _table(head: Sequence[str], rows: Rows) -> str:
    """All columns but the first are figures, which stand to the right."""
    edges = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, edges, *rows))


def _many(number: float) -> str:
    return f"{number:,.0f}"


def _command(result: Mapping[str, Any]) -> str:
    """As it was typed, without where its output went."""
    return f"`{re.sub(r' --json [^ ]+', '', result['machine']['command'])}`"


def _headline(results: Results) -> str:
    rows = [*_fast(results), *_faulty(results), *_shared(results)]
    return _table(("what", "seen", "command"), rows)


def _fast(results: Results) -> Rows:
    """How fast it is, and what that costs."""
    e2e, drain, ingest, latency = (results[name] for name in ("e2e", "drain", "ingest", "latency"))
    full, half, single = (e2e["phases"][name] for name in ("full", "half", "single"))
    return [
        (
            f"HTTP API to APNs' answer, in batches of {full['batch']}, for {full['seconds']:.0f} s",
            f"**{_many(full['pushes_per_s'])} pushes/s**, lost {e2e['lost']}; "
            f"{full['mean_ms']} ms on average, p99 {full['p99_ms']} ms",
            _command(e2e),
        ),
        ("… at half of that", f"p99 {half['p99_ms']} ms", ""),
        (
            "… in single requests",
            f"{_many(single['pushes_per_s'])} pushes/s, p99 {single['p99_ms']} ms",
            "",
        ),
        (
            f"{_many(drain['jobs'])} queued jobs of {drain['tenants']} tenants to the sink over TLS",
            f"**{_many(drain['pushes_per_s'])} pushes/s**",
            _command(drain),
        ),
        ("… CPU of the engine for a push", f"**{drain['engine_us_per_push']:.1f} µs**", ""),
        ("… CPU of Redis for a push, claimed and settled", f"{drain['redis_us_per_push']:.1f} µs", ""),
        (
            f"ingest in batches of {ingest['batch_items']}, each durable in Redis before its 202",
            f"**{ingest['batch_us_per_push']:.1f} µs** CPU a push, {_many(ingest['batch_pushes_per_s'])}/s",
            _command(ingest),
        ),
        (
            "ingest as single requests on 64 connections",
            f"**{ingest['single_us_per_push']:.0f} µs** CPU a push, {_many(ingest['single_requests_per_s'])}/s",
            "",
        ),
        (
            f"one push into an idle gateway, API to APNs ({latency['offered_per_s']}/s)",
            f"**{latency['p50_ms']:.1f} ms** p50, {latency['p99_ms']:.1f} ms p99",
            _command(latency),
        ),
        ("an idle worker", f"{latency['idle_worker_cpu_percent']:.2f} % of a CPU", ""),
    ]


def _faulty(results: Results) -> Rows:
    """What becomes of pushes when something fails."""
    chaos, hole = results["chaos"], results["blackhole"]
    return [
        (
            "chaos: 10,000 pushes/s for 120 s, `appendfsync always`, while workers, ingest, the supervisor and "
            f"Redis are killed with SIGKILL and links cut, {sum(chaos['kills'].values())} times",
            f"**lost {chaos['lost']}** of {_many(chaos['accepted_by_api'])}; {chaos['repeated']} repeated, "
            f"{_many(chaos['in_flight_at_kills'])} were in hand",
            _command(chaos),
        ),
        (
            "APNs falls silent for 60 s under 5,000 pushes/s",
            f"**lost {hole['lost']}**; a worker grows from {max(hole['worker_rss_mib']['before']):.0f} to "
            f"{max(hole['worker_rss_mib']['most']):.0f} MiB; flows again after {hole['recovery_s']['flow']:.2f} s, "
            f"usual latency after {hole['recovery_s']['latency']:.1f} s",
            _command(hole),
        ),
    ]


def _shared(results: Results) -> Rows:
    """What tenants notice of each other."""
    fair, apart, tenants = results["fairness"], results["isolation"], results["tenants"]
    weights, beside = fair["weights"], fair["neighbours"]
    shares = ", ".join(f"{share:.1f}" for share in weights["share_percent"])
    p99s = [phase["b"]["p99_ms"] for phase in apart["phases"].values()]
    memory = max(tenants["many"]["worker_rss_mib"]["most"])
    return [
        (
            "three backlogs of weight 1, 2 and 4",
            f"{shares} % of what is sent; in any 5 s within "
            f"**{weights['windows_of_5_s']['worst_off_percent']:.1f} %** of that",
            _command(fair),
        ),
        (
            f"a push beside a neighbour's million, at {_many(beside['hog']['together_per_s'])} pushes/s",
            f"p50 {beside['chat']['together']['p50_ms']:.0f} ms, "
            f"p99 **{beside['chat']['together']['p99_ms']:.0f} ms** "
            f"(alone {beside['chat']['alone']['p50_ms']:.0f} and {beside['chat']['alone']['p99_ms']:.0f})",
            "",
        ),
        (
            "a tenant's links fall silent, then its key is revoked",
            f"its neighbour's p99 stays between **{min(p99s):.1f} and {max(p99s):.1f} ms**",
            _command(apart),
        ),
        (
            f"{_many(tenants['many']['tenants'])} tenants of {tenants['many']['teams']} teams",
            f"a claim costs **{tenants['ratios']['claim']} times** as much a job as for one tenant; "
            f"{memory:.0f} MiB a worker",
            _command(tenants),
        ),
    ]


def _budgets(results: Results) -> str:
    drain, ingest = results["drain"], results["ingest"]
    redis = drain["redis_us_per_push"] + drain["redis_us_per_push_enqueued"]
    rows = [
        ("engine, every feature on", "10 µs", f"{drain['engine_us_per_push']:.1f} µs"),
        ("Redis, enqueue included", "4 µs", f"{redis:.1f} µs"),
        ("ingest, batches of 500", "5 µs", f"{ingest['batch_us_per_push']:.1f} µs"),
        ("ingest, single requests", "60 µs", f"{ingest['single_us_per_push']:.0f} µs"),
    ]
    return _table(("part", "budget", "seen"), rows)


def _e2e(results: Results) -> str:
    phases = results["e2e"]["phases"].values()
    percentiles = ("mean", "p50", "p90", "p99", "p999")
    rows = [
        (
            f"{_many(phase['offered_per_s'])}/s, {phase['batch']} in a request",
            *(f"{phase[f'{name}_ms']:.1f}" for name in percentiles),
            *(f"{_part(phase, part):.1f}" for part in ("ingest", "redis", "worker", "sink", "load")),
        )
        for phase in phases
    ]
    parts = ("ingest µs", "Redis µs", "engine µs", "sink µs", "load µs")
    return _table(("offered", *(f"{name} ms" for name in percentiles), *parts), rows)


def _part(phase: Mapping[str, Any], part: str) -> float:
    costs = phase["us_per_push"]
    return float(sum(us for name, us in costs.items() if name.partition("-")[0] == part))


def _rtt(results: Results) -> str:
    rows = [
        (
            f"{case['rtt_ms']:g} ms, {case['payload_bytes']:,} bytes",
            _many(case["pushes_per_s"]),
            f"{case['links']:.0f}",
            f"{100 * case['share_of_windows']:.0f} %" if case["share_of_windows"] else "",
            f"{100 * case['cpus_busy']:.0f} %",
        )
        for case in results["rtt"]["cases"]
    ]
    return _table(
        ("round trip and payload", "pushes/s", "links", "of what their windows allow", "CPUs busy"), rows
    )


def _growth(what: str, series: str) -> Callable[[Results], str]:
    def table(results: Results) -> str:
        rows = [
            (
                _many(point["size"]),
                f"{point['engine_us_per_push']:.1f}",
                f"{point['redis_us_per_push']:.1f}",
                f"{point['times_the_first']:.2f}",
                _many(point["pushes_per_s"]),
                f"{point['worker_rss_mib']:.0f}",
                _many(point["redis_mib"]),
            )
            for point in results["growth"][series]
        ]
        head = (what, "engine µs", "Redis µs", "times the first", "pushes/s", "worker MiB", "Redis MiB")
        return _table(head, rows)

    return table


def _matrix(results: Results) -> str:
    cells = results["matrix"]["cells"]
    rows = [
        (
            f"{cell['workers']} × {cell['links']}",
            _many(cell["pushes_per_s"]),
            f"{cell['trip_ms']:.0f}",
            f"{cell['engine_cpu_percent']:.0f} %",
            f"{cell['engine_us_per_push']:.1f}",
        )
        for cell in cells
    ]
    return _table(("workers × links", "pushes/s", "ms at APNs", "engine's CPU", "engine µs"), rows)


def _campaign(results: Results) -> str:
    rows = []
    for size in results["campaign"]["sizes"]:
        kinds = (size["single"], size["campaign"])
        rows.append(
            (
                f"{_many(size['payload_bytes'])} bytes",
                *(_many(kind["pushes_per_s"]) for kind in kinds),
                f"{size['rate_times']:.2f}",
                *(f"{kind['engine_us_per_push']:.1f}" for kind in kinds),
                *(f"{kind['redis_us_per_push']:.1f}" for kind in kinds),
                f"{size['memory_times']:.2f}",
            )
        )
    both = ("engine µs, one by one", "in campaigns", "Redis µs, one by one", "in campaigns")
    head = ("payload", "pushes/s one by one", "in campaigns", "times", *both, "times the memory")
    return _table(head, rows)


def _stages(results: Results) -> str:
    rows = [(stage, f"{percent:.0f} %") for stage, percent in results["drain"]["stages"].items()]
    return _table(("stage", "of a worker's CPU"), rows)


def _peers(results: Results) -> str:
    rows = []
    for name, peer in results["peers"]["peers"].items():
        settings = ", ".join(
            f"{value} {what}" for what, value in peer["settings"].items() if what != "pushes"
        )
        rows.append(
            (
                f"{name} ({settings})",
                _many(peer["pushes_per_s"]),
                f"{peer['us_per_push']:.1f}",
                f"{peer['clarion_times']:.2f}" if peer["clarion_times"] else "",
            )
        )
    return _table(("who", "pushes/s", "CPU µs a push", "Clarion's rate to it"), rows)


def _tuning(results: Results) -> str:
    tuning = results["tuning"]
    rows = [
        (
            f"`{each['name']}`",
            each["what"],
            *(_with_value(each[side], each["unit"]) for side in ("without", "with")),
        )
        for each in tuning["settings"]
    ]
    rows += [(f"`{each['name']}`", f"not measured: {each['why']}", "", "") for each in tuning["not_measured"]]
    return _table(("setting", "what was measured", "without", "with"), rows)


def _with_value(side: Mapping[str, Any], unit: str) -> str:
    """What came of a value, and the value."""
    figure, value = side["median"], side["value"]
    number = _many(figure) if figure == int(figure) else f"{figure:,}"
    return f"{number} {unit} ({f'`{value}`' if value else 'empty'})"


TABLES: Final[Mapping[str, Callable[[Results], str]]] = {
    "headline": _headline,
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
