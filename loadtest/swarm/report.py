"""What a run of Locust came to, and whether all was well: as an object, and in words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from loadtest.bench import judgement as fates
from loadtest.bench.judgement import Judgement
from loadtest.swarm import bottleneck, tally
from loadtest.swarm.bottleneck import LOCUST, Look

PARTS: Final = (LOCUST, "ingest", "worker", "redis", "sink")
# Locust's name for all requests together
ALL: Final = "Aggregated"


class Course(NamedTuple):
    """Locust's run: its exit code, looks at everybody's CPU meanwhile, and whether Ctrl-C was its end."""

    exit_code: int
    looks: Sequence[Look]
    interrupted: bool = False


class Run(NamedTuple):
    """What was seen. ``tally`` is what the locustfile wrote; ``exit_code`` is the gateway's."""

    tally: Mapping[str, Any]
    judgement: Judgement
    course: Course
    cpus: int
    survived: bool
    exit_code: int | None


def told(run: Run) -> dict[str, Any]:
    """As the result says it; ``said`` holds the lines for a person."""
    judgement, requests = run.judgement, run.tally["requests_by_name"].get(ALL, {})
    whole = fates.told(judgement)
    rate = requests.get("per_s", 0.0)
    looks = run.course.looks
    found = bottleneck.verdict(looks, run.cpus)
    result = {
        "requests_per_s": rate,
        "pushes_per_s": whole["pushes_per_s"],
        "requests_by_name": run.tally["requests_by_name"],
        "answers": {name: value for name, value in run.tally.items() if name != "requests_by_name"},
        "api_to_apns": {"p50_ms": whole["p50_ms"], "p99_ms": whole["p99_ms"]},
        **{name: whole[name] for name in ("accepted_by_api", "lost", "queued", "dead", "repeated")},
        "cpu_percent": {part: round(100 * bottleneck.mean_share(looks, part), 1) for part in PARTS},
        "busiest_cpu_percent": {part: round(100 * bottleneck.busiest(looks, part)[1], 1) for part in PARTS},
        "locust_us_per_request": round(1e6 * bottleneck.mean_share(looks, LOCUST) / rate) if rate else 0,
        "bottleneck": found.end.value,
        "bottleneck_share": round(found.share, 3),
        "failed": failures(run),
    }
    return {**result, "said": list(_lines(run, result, bottleneck.in_words(found, looks)))}


def failures(run: Run) -> list[str]:
    """In words; empty when all is well. Back-pressure is none."""
    counts, judgement = run.tally, run.judgement
    queued = sum(judgement.queued.values())
    wrong = {
        "no push was accepted": not counts["accepted"],
        f"{counts['failed_requests']} requests failed": counts["failed_requests"],
        f"{judgement.lost} pushes that the API accepted did not come": judgement.lost,
        f"{queued} pushes had not been sent at the end": queued and not run.course.interrupted,
        f"{sum(judgement.dead.values())} pushes that nothing was wrong with were given up": judgement.dead,
        f"{judgement.repeated} pushes came again": judgement.repeated,
        f"{judgement.unexplained} pushes came that nobody was told of": judgement.unexplained,
        f"the log has {judgement.accepted_by_api} accepted pushes, and the tally {counts['accepted']}": (
            judgement.accepted_by_api != counts["accepted"]
        ),
        "a process of the gateway ended by itself": not run.survived,
        f"the gateway's exit code after SIGTERM is {run.exit_code}": run.exit_code,
        # 1 is Locust's word for requests that failed, which are told of already
        f"Locust's exit code is {run.course.exit_code}": run.course.exit_code not in (0, 1),
    }
    return [what for what, is_so in wrong.items() if is_so]


def _lines(run: Run, result: Mapping[str, Any], end: str) -> Iterator[str]:
    yield f"{result['requests_per_s']:,.1f} requests/s, {result['pushes_per_s']:,} pushes/s"
    for name, each in result["requests_by_name"].items():
        yield (
            f"  {name}: {each['requests']:,} requests, p50 {each['p50_ms']:g} ms, p90 {each['p90_ms']:g} ms, "
            f"p99 {each['p99_ms']:g} ms, most {each['most_ms']:g} ms"
        )
    times = result["api_to_apns"]
    yield f"from the request to APNs: p50 {times['p50_ms']:g} ms, p99 {times['p99_ms']:g} ms"
    yield from tally.lines(run.tally)
    queued = sum(result["queued"].values())
    yield f"at the sink: {result['lost']:,} lost, {result['repeated']:,} repeated; {queued:,} still queued"
    yield "CPU, in % of one: " + ", ".join(
        f"{part} {percent:g}" for part, percent in result["cpu_percent"].items()
    )
    yield f"CPU of Locust for a request: {result['locust_us_per_request']:,} µs"
    yield end
    for what in result["failed"]:
        yield f"FAILED: {what}"
