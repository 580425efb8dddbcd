"""Tables in documents come from results, and nothing else in a document is touched."""

import pytest

from loadtest.bench.tables import with_figures

MACHINE = {"command": "scripts/bench rtt --json /tmp/somewhere.json --workers 2"}
RTT = {
    "cases": [
        {
            "rtt_ms": 0.0,
            "payload_bytes": 256,
            "pushes_per_s": 204_847,
            "links": 4.6,
            "share_of_windows": None,
            "cpus_busy": 0.99,
        },
        {
            "rtt_ms": 100.0,
            "payload_bytes": 4096,
            "pushes_per_s": 2_520,
            "links": 32.0,
            "share_of_windows": 0.979,
            "cpus_busy": 0.2,
        },
    ],
    "machine": MACHINE,
}
DOCUMENT = """# Ways

<!-- figures: rtt -->
anything
<!-- end -->
and the rest
"""


def test_a_table_stands_where_the_document_says() -> None:
    made = with_figures(DOCUMENT, {"rtt": RTT})
    assert made == (
        "# Ways\n\n<!-- figures: rtt -->\n"
        "| round trip and payload | pushes/s | links | of what their windows allow | CPUs busy |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| 0 ms, 256 bytes | 204,847 | 5 |  | 99 % |\n"
        "| 100 ms, 4,096 bytes | 2,520 | 32 | 98 % | 20 % |\n"
        "<!-- end -->\nand the rest\n"
    )
    # and is made anew each time
    assert with_figures(made, {"rtt": RTT}) == made


def test_a_setting_stands_with_both_of_its_values_or_with_why_it_was_not_measured() -> None:
    tuning = {
        "settings": [
            {
                "name": "save",
                "what": "a drain",
                "unit": "pushes/s",
                "without": {"value": "60 1", "median": 49_534, "runs": [49_534]},
                "with": {"value": "", "median": 53_107, "runs": [53_107]},
            }
        ],
        "not_measured": [{"name": "KillMode", "why": "no systemd"}],
    }
    made = with_figures("<!-- figures: tuning -->\n<!-- end -->", {"slow-memory/tuning": tuning})
    assert made.splitlines()[3:5] == [
        "| `save` | a drain | 49,534 pushes/s (`60 1`) | 53,107 pushes/s (empty) |",
        "| `KillMode` | not measured: no systemd |  |  |",
    ]


def test_what_was_measured_on_a_slow_memory_stands_beside_the_rest() -> None:
    def costs(engine_us: float) -> dict[str, dict[str, float]]:
        drain = {"engine_us_per_push": engine_us, "redis_us_per_push": 1.5, "redis_us_per_push_enqueued": 1.3}
        return {"drain": drain, "ingest": {"batch_us_per_push": 3.54, "single_us_per_push": 37.0}}

    results = costs(4.96) | {f"slow-memory/{name}": result for name, result in costs(18.0).items()}
    made = with_figures("<!-- figures: budgets -->\n<!-- end -->", results)
    assert made.splitlines()[1:5] == [
        "| part | budget | seen | where memory is slow |",
        "| --- | ---: | ---: | ---: |",
        "| engine, every feature on | 10 µs | 5.0 µs | 18.0 µs |",
        "| Redis, enqueue included | 4 µs | 2.8 µs | 2.8 µs |",
    ]


def test_a_document_without_a_place_is_as_it_was() -> None:
    assert with_figures("no figures\n", {}) == "no figures\n"


def test_a_table_that_there_is_not_is_named() -> None:
    with pytest.raises(KeyError, match="speed"):
        with_figures("<!-- figures: speed -->\n<!-- end -->", {})
    with pytest.raises(KeyError, match="rtt"):
        with_figures(DOCUMENT, {})
