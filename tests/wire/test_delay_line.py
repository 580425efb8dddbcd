"""A way of some length in a network namespace: what goes over it comes late and whole, or is lost by a seed."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from loadtest.bench.delay_line import exchanged
from loadtest.bench.namespace import Refused, measured_inside, refusal

PROGRAM = "tests.wire.delayed"


@pytest.fixture
def namespaces() -> None:
    if why := refusal():
        pytest.skip(why)


def inside(measure: str, sysctls: dict[str, str] | None = None, **given: Any) -> list[float]:
    return list(measured_inside(PROGRAM, measure, sysctls or {}, **given))


def test_an_exchanged_packet_has_the_same_checksum() -> None:
    packet = bytes(range(12)) + bytes((10, 9, 0, 1)) + bytes((10, 9, 0, 2)) + b"the rest"
    turned = exchanged(packet)
    assert turned == bytes(range(12)) + bytes((10, 9, 0, 2)) + bytes((10, 9, 0, 1)) + b"the rest"

    def words(of: bytes) -> int:
        return sum(int.from_bytes(of[at : at + 2]) for at in range(0, len(of), 2))

    assert words(turned) == words(packet)


@pytest.mark.usefixtures("namespaces")
def test_both_ends_are_a_round_trip_apart_and_all_bytes_come() -> None:
    connected_ms, echoed_ms, same, apart = inside("echoed", rtt_ms=40.0, size=300_000)
    # never sooner; how much later is the machine's affair
    assert connected_ms >= 40.0 and echoed_ms >= 40.0
    assert same and apart


@pytest.mark.usefixtures("namespaces")
def test_what_is_lost_is_what_the_seed_says() -> None:
    chance = Random(7)
    kept = [number for number in range(100) if chance.random() >= 0.3]
    assert inside("arrived", loss=0.3, seed=7, datagrams=100) == kept


@pytest.mark.usefixtures("namespaces")
def test_a_setting_holds_inside_and_the_host_keeps_its_own() -> None:
    host = Path("/proc/sys/net/core/somaxconn")
    before = host.read_text()
    assert inside("somaxconn", {"net.core.somaxconn": "77"}) == [77]
    assert host.read_text() == before


@pytest.mark.usefixtures("namespaces")
def test_a_setting_that_no_namespace_has_is_refused_by_its_name() -> None:
    with pytest.raises(Refused, match=r"net\.core\.no_such_thing"):
        inside("somaxconn", {"net.core.no_such_thing": "1"})
