"""From stored bytes to jobs, a run at a time, with those set apart that must not be sent. Pure."""

from collections.abc import Callable, Sequence
from itertools import groupby, repeat
from typing import Final

import msgspec

from engine.apns.headers import Held
from engine.worker.hand import HeldRun
from shards.campaign import Campaign, campaign_of, expand, head_of, is_element
from shards.environment import Environment
from shards.flow import environment_of
from shards.job import decode_job

_ENVIRONMENTS: Final = frozenset(Environment)

KnownCampaign = Callable[[bytes], Campaign | None]


class Decoded:
    """What a run turned out to be.

    ``held``: jobs that may be sent. ``expired``: their time has passed (apns-expiration). ``strays``: their environment
    is not their flow's, or is none at all, and they must reach neither host. ``unreadable``: no jobs. ``unlearned``:
    elements of campaigns that are not known. ``elements``: how many were expanded of each campaign.
    """

    __slots__ = ("elements", "expired", "held", "strays", "unlearned", "unreadable")

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.expired: list[Held] = []
        self.strays: list[Held] = []
        self.unreadable: list[bytes] = []
        self.unlearned: list[bytes] = []
        self.elements: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"<Decoded {len(self.held)} held, {len(self.unlearned)} of unknown campaigns>"


def decode_run(run: HeldRun, encoded: Sequence[bytes], now_s: float, known: KnownCampaign) -> Decoded:
    """Sort a run, in order. ``now_s``: Unix seconds; ``known``: campaigns by their ids."""
    decoded = Decoded()
    at = _read_jobs(decoded, run, encoded, now_s)
    # a run without campaigns ends here, and nobody has looked for any
    if at < len(encoded):
        for head, some in groupby(encoded[at:], head_of):
            if is_element(head):
                campaign_id = campaign_of(head)
                _read_elements(decoded, run, list(some), now_s, campaign_id, known(campaign_id))
            else:
                _read_jobs(decoded, run, list(some), now_s)
    return decoded


def _read_jobs(decoded: Decoded, run: HeldRun, encoded: Sequence[bytes], now_s: float) -> int:
    """Ordinary jobs, as far as the first element of a campaign; returns where that is, or behind the last."""
    held, expired, strays = decoded.held, decoded.expired, decoded.strays
    environment = environment_of(run.flow)
    known = environment in _ENVIRONMENTS
    # there may be some of an earlier part of the run
    before = len(held) + len(expired) + len(strays)
    unreadable = 0
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
            return len(encoded)
        except msgspec.DecodeError:
            at = len(held) + len(expired) + len(strays) - before + unreadable
            if is_element(encoded[at]):
                return at
            # ``jobs`` goes on behind the one that failed, and one bad job does not stop its shard
            decoded.unreadable.append(encoded[at])
            unreadable += 1


def _read_elements(
    decoded: Decoded,
    run: HeldRun,
    elements: list[bytes],
    now_s: float,
    campaign_id: bytes,
    campaign: Campaign | None,
) -> None:
    """Elements of one campaign, which all fare alike."""
    if campaign is None:
        decoded.unlearned += elements
        return
    environment = environment_of(run.flow)
    decoded.elements[campaign_id] = decoded.elements.get(campaign_id, 0) + len(elements)
    entries = list(zip(expand(elements, campaign), repeat(run)))
    if campaign.environment != environment or environment not in _ENVIRONMENTS:
        decoded.strays += entries
    elif 0 < campaign.expiration <= now_s:
        decoded.expired += entries
    else:
        decoded.held += entries
