"""The campaigns that a worker has met lately, so that the next round need not ask for them again."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from shards.campaign import Campaign

# a payload has 5 KiB at most, but a worker may meet the campaigns of ten thousand tenants
CAMPAIGNS_MOST: Final = 1_000
BYTES_MOST: Final = 2 * 1024 * 1024


class Campaigns:
    """By id, within bounds of number and of bytes of payload; the one that was not asked for the longest goes first."""

    def __init__(self, most: int = CAMPAIGNS_MOST, bytes_most: int = BYTES_MOST) -> None:
        self._most = most
        self._bytes_most = bytes_most
        self._known: OrderedDict[bytes, Campaign] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Campaigns {len(self._known)} known, {self._bytes} bytes>"

    def known(self, campaign_id: bytes) -> Campaign | None:
        """The campaign with this id, if it is remembered."""
        campaign = self._known.get(campaign_id)
        if campaign is not None:
            self._known.move_to_end(campaign_id)
        return campaign

    def learn(self, found: Mapping[bytes, Campaign]) -> None:
        """Remember these, and forget others for them. Of more than fit, the last stay."""
        for campaign_id, campaign in found.items():
            if campaign_id not in self._known:
                self._known[campaign_id] = campaign
                self._bytes += len(campaign.payload)
        while len(self._known) > self._most or self._bytes > self._bytes_most:
            _, campaign = self._known.popitem(last=False)
            self._bytes -= len(campaign.payload)
