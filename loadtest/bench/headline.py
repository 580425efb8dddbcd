"""The README's table: what Clarion does, on two machines, and the command that shows it. Pure."""

from loadtest.bench.cells import Results, Rows, command, many, on_slow_memory, table


def headline(results: Results) -> str:
    """The table. Raises KeyError naming a result that one of the machines has not."""
    sides = [
        [*_fast(each), *_beside(each), *_faulty(each), *_shared(each)]
        for each in (results, on_slow_memory(results))
    ]
    rows = [(what, seen, slow, how) for (what, seen, how), (_, slow, _) in zip(*sides, strict=True)]
    return table(("what", "seen", "where memory is slow", "command"), rows)


def _fast(results: Results) -> Rows:
    """How fast it is, and what that costs."""
    e2e, drain, ingest, latency = (results[name] for name in ("e2e", "drain", "ingest", "latency"))
    full, half, single = (e2e["phases"][name] for name in ("full", "half", "single"))
    return [
        (
            f"HTTP API to APNs' answer, in batches of {full['batch']}, for {full['seconds']:.0f} s",
            f"**{many(full['pushes_per_s'])} pushes/s**, lost {e2e['lost']}; "
            f"{full['mean_ms']} ms on average, p99 {full['p99_ms']} ms",
            command(e2e),
        ),
        ("… at half of that", f"p99 {half['p99_ms']} ms", ""),
        (
            "… in single requests",
            f"{many(single['pushes_per_s'])} pushes/s, p99 {single['p99_ms']} ms",
            "",
        ),
        (
            f"{many(drain['jobs'])} queued jobs of {drain['tenants']} tenants to the sink over TLS",
            f"**{many(drain['pushes_per_s'])} pushes/s**",
            command(drain),
        ),
        ("… CPU of the engine for a push", f"**{drain['engine_us_per_push']:.1f} µs**", ""),
        ("… CPU of Redis for a push, claimed and settled", f"{drain['redis_us_per_push']:.1f} µs", ""),
        (
            f"ingest in batches of {ingest['batch_items']}, each durable in Redis before its 202",
            f"**{ingest['batch_us_per_push']:.1f} µs** CPU a push, {many(ingest['batch_pushes_per_s'])}/s",
            command(ingest),
        ),
        (
            "ingest as single requests on 64 connections",
            f"**{ingest['single_us_per_push']:.0f} µs** CPU a push, {many(ingest['single_requests_per_s'])}/s",
            "",
        ),
        (
            f"one push into an idle gateway, API to APNs ({latency['offered_per_s']}/s)",
            f"**{latency['p50_ms']:.1f} ms** p50, {latency['p99_ms']:.1f} ms p99",
            command(latency),
        ),
        ("an idle worker", f"{latency['idle_worker_cpu_percent']:.2f} % of a CPU", ""),
    ]


def _beside(results: Results) -> Rows:
    """Its rate, and that of others in the same run."""
    peers = results["peers"]
    others = {
        "go-gateway": "a Go gateway with `net/http`",
        "node-apn": "node-apn",
        "h2load": "h2load, without a queue",
    }
    return [
        (
            f"a drain beside {words}, on the same sink and in the same run",
            f"**{peers['peers'][name]['clarion_times']:.2g} times** its rate",
            command(peers) if not at else "",
        )
        for at, (name, words) in enumerate(others.items())
    ]


def _faulty(results: Results) -> Rows:
    """What becomes of pushes when something fails."""
    chaos, hole = results["chaos"], results["blackhole"]
    return [
        (
            "chaos: 10,000 pushes/s for 120 s, `appendfsync always`, while workers, ingest, the supervisor and "
            "Redis are killed with SIGKILL and links cut",
            f"**lost {chaos['lost']}** of {many(chaos['accepted_by_api'])} at {sum(chaos['kills'].values())} kills; "
            f"{chaos['repeated']} repeated, {many(chaos['in_flight_at_kills'])} were in hand",
            command(chaos),
        ),
        (
            "APNs falls silent for 60 s under 5,000 pushes/s",
            f"**lost {hole['lost']}**; a worker grows from {max(hole['worker_rss_mib']['before']):.0f} to "
            f"{max(hole['worker_rss_mib']['most']):.0f} MiB; flows again after {hole['recovery_s']['flow']:.2f} s, "
            f"usual latency after {hole['recovery_s']['latency']:.1f} s",
            command(hole),
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
            command(fair),
        ),
        (
            "a push beside a neighbour's million",
            f"p50 {beside['chat']['together']['p50_ms']:.0f} ms, "
            f"p99 **{beside['chat']['together']['p99_ms']:.0f} ms** "
            f"(alone {beside['chat']['alone']['p50_ms']:.0f} and {beside['chat']['alone']['p99_ms']:.0f}), "
            f"at {many(beside['hog']['together_per_s'])} pushes/s",
            "",
        ),
        (
            "a tenant's links fall silent, then its key is revoked",
            f"its neighbour's p99 stays between **{min(p99s):.1f} and {max(p99s):.1f} ms**",
            command(apart),
        ),
        (
            f"{many(tenants['many']['tenants'])} tenants of {tenants['many']['teams']} teams",
            f"a claim costs **{tenants['ratios']['claim']} times** as much a job as for one tenant; "
            f"{memory:.0f} MiB a worker",
            command(tenants),
        ),
    ]
