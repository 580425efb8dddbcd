"""Whoever collects the tests finds the same names: processes that share the tests compare them before they begin."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def names_of_tests(seed: int) -> list[str]:
    """Collects all tests in a process of its own, whose sets have an order of their own."""
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "--override-ini=addopts=", "tests"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert collected.returncode == 0, collected.stdout[-2000:] + collected.stderr[-2000:]
    return [line for line in collected.stdout.splitlines() if "::" in line]


def test_names_depend_neither_on_the_time_nor_on_the_order_of_a_set() -> None:
    names = names_of_tests(1)
    assert len(names) > 1000
    assert [name[:120] for name in names if len(name) > 300] == []
    # collecting takes seconds, so what holds the time differs as well
    assert sorted(set(names_of_tests(2)) ^ set(names)) == []
