"""What is wrong with a run of ``chaos``: its faults held against what was lost and what came twice. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.bench import judgement as any_run
from loadtest.bench.faults import Fault
from loadtest.bench.gateway import ORPHANS_S
from loadtest.bench.judgement import Judgement, by_fault
from loadtest.bench.lab import AofFaults


def in_flight(done: Sequence[Fault]) -> int:
    """The most that may come twice: what was in hands at the kills that could be counted."""
    return sum(fault.in_flight or 0 for fault in done)


def failures(
    judgement: Judgement,
    done: Sequence[Fault],
    aof: AofFaults,
    sink: Mapping[str, int],
    survived: bool,
    exit_code: int | None,
) -> list[str]:
    """In words; empty when all is well."""
    most_repeated = in_flight(done)
    _, without_fault = by_fault(judgement.repeats, [fault.at_s for fault in repeating(done)])
    orphans = sum(fault.orphans for fault in done)
    found = {
        f"{judgement.repeated} pushes came again, but only {most_repeated} were in hands at the kills": (
            judgement.repeated > most_repeated
        ),
        f"{without_fault} pushes came again though nothing had happened since they first came": without_fault,
        f"{orphans} processes outlived their supervisor by {ORPHANS_S:.0f} s": orphans,
        f"Redis misread its own append-only file, {aof.misread} times: its log says how": aof.misread,
    }
    return [
        *any_run.failures(judgement, sink, survived, exit_code),
        *(what for what, wrong in found.items() if wrong),
    ]


def repeating(done: Sequence[Fault]) -> list[Fault]:
    """Those after which pushes may come again; a request that ingest lost nobody sends again."""
    return [fault for fault in done if fault.kind != "ingest"]


def told(done: Sequence[Fault], judgement: Judgement) -> list[dict[str, Any]]:
    """The faults as the result says them, each with what came twice because of it."""
    causes = repeating(done)
    counts, _ = by_fault(judgement.repeats, [fault.at_s for fault in causes])
    repeated = dict(zip(causes, counts, strict=True))
    return [
        {
            "at_s": round(fault.at_s - judgement.first_due_s, 2),
            "kind": fault.kind,
            "victim": fault.victim,
            "in_flight": fault.in_flight,
            "repeated": repeated.get(fault, 0),
            "fsync_pending": fault.fsync_pending,
            "down_s": round(fault.down_s, 2),
        }
        for fault in done
    ]
