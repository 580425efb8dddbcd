"""From stored bytes to jobs, a run at a time, with those set apart that must not be sent. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from engine.apns.headers import Held
from engine.worker.hand import HeldRun
from shards.environment import Environment
from shards.flow import environment_of
from shards.job import decode_job

_ENVIRONMENTS: Final = frozenset(Environment)


def decode_run(
    run: HeldRun, encoded: Sequence[bytes], now_s: float
) -> tuple[list[Held], list[Held], list[Held], list[bytes]]:
    """Jobs; those whose time has passed (apns-expiration, Unix seconds); those whose environment is not their flow's,
    or is none at all, which must reach neither host; and those that are no jobs."""
    held: list[Held] = []
    expired: list[Held] = []
    strays: list[Held] = []
    unreadable: list[bytes] = []
    environment = environment_of(run.flow)
    known = environment in _ENVIRONMENTS
    jobs = map(decode_job, encoded)
    while True:
        try:
            for job in jobs:
                if job.environment != environment or not known:
                    strays.append((job, run))
                elif 0 < job.expiration <= now_s:
                    expired.append((job, run))
                else:
                    held.append((job, run))
            return held, expired, strays, unreadable
        except msgspec.DecodeError:
            # ``jobs`` goes on behind the one that failed, and one bad job does not stop its shard
            read = len(held) + len(expired) + len(strays)
            unreadable.append(encoded[read + len(unreadable)])
