"""What the histories of the queues know of jobs and campaigns without asking Redis."""

import random
from collections import Counter
from collections.abc import Sequence

from shards.campaign import (
    Campaign,
    Portion,
    apns_id_of,
    campaign_of,
    element,
    encode_campaign,
    expand,
    is_element,
    new_campaign_id,
)
from shards.flow import environment_of
from shards.job import Job, decode_job, encode_job


class Book:
    """The campaigns there ever were."""

    def __init__(self) -> None:
        self._campaigns: dict[bytes, Campaign] = {}

    def __repr__(self) -> str:
        return f"<Book of {len(self._campaigns)} campaigns>"

    def elements(self, lane: str, flow: str, numbers: range, chance: random.Random) -> list[bytes]:
        """Elements of a new campaign, or more of one that there is already."""
        topic = f"{lane}|{flow}"
        fits = [each for each, campaign in self._campaigns.items() if campaign.topic == topic]
        campaign_id = new_campaign_id(numbers.start, bytes(10))
        if fits and chance.random() < 0.5:
            campaign_id = chance.choice(fits)
        self._campaigns.setdefault(campaign_id, Campaign(topic, b"{}", environment_of(flow)))
        # a token with all that the scripts look for
        return [element(campaign_id, each, b"\0|\n") for each in numbers]

    def record(self, campaign_id: bytes) -> bytes:
        return encode_campaign(self._campaigns[campaign_id])

    def portions(self, elements: Sequence[bytes]) -> list[Portion]:
        """As they are enqueued with these elements."""
        return [
            Portion(each, self.record(each), many)
            for each, many in Counter(map(campaign_of, elements)).items()
        ]

    def expanded(self, stored: bytes) -> bytes:
        """As a worker would write it back."""
        if not is_element(stored):
            return stored
        [job] = expand([stored], self._campaigns[campaign_of(stored)])
        return encode_job(job)

    def place_of(self, stored: bytes) -> tuple[str, str]:
        """The lane and the flow of what is stored."""
        lane, _, flow = decode_job(self.expanded(stored)).topic.partition("|")
        return lane, flow


def made(number: int, lane: str, flow: str) -> bytes:
    """A job as it is stored, which says where it belongs."""
    return encode_job(Job(b"job%d" % number, b"00", f"{lane}|{flow}", b"{}", environment_of(flow)))


def name_of(stored: bytes) -> bytes:
    """The id of a job or of an element, the same wherever it goes."""
    return apns_id_of(stored) if is_element(stored) else decode_job(stored).id


def without_heads(claim: list[bytes]) -> list[bytes]:
    """The jobs of a claim, without the "lane|tenant|count" before each run."""
    found: list[bytes] = []
    at = 0
    while at < len(claim):
        end = at + 1 + int(claim[at].rsplit(b"|", 1)[1])
        assert end <= len(claim)
        found += claim[at + 1 : end]
        at = end
    return found
