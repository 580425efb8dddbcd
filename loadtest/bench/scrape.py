"""What a running engine says of itself, as Prometheus would read it."""

import urllib.request
from collections import defaultdict
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families


def scraped(port: int) -> Mapping[str, float]:
    """Each sample's value by its name, those of all processes and labels together; 0 for what there is not."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # buckets are cumulative, so their sum would mean nothing
            if not sample.name.endswith("_bucket"):
                found[sample.name] += sample.value
    return found
