"""A campaign on its way into the queues: one notification that is judged once, and a short element for each device.

Pure: no clock, no chance, no IO. What a campaign's pushes have in common is admitted as a single push is, by the same
rules; then each device token is judged by itself.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ingest.admission import BAD_TOKEN, admit, read_token
from ingest.gather import Parcel, Place, Placer
from shards.campaign import apns_id_of, common_of, element, encode_campaign
from shards.notification import CampaignRequest
from shards.problem import Refusal
from shards.tenant import Tenant

# stands where one is wanted, and goes nowhere
_ANY_TOKEN: Final = "00"


class Addressed:
    """The pushes of a campaign that was admitted, as far as its devices have been looked at: ``address`` is called with
    some of them at a time, since all may be a hundred thousand, and others wait meanwhile.
    """

    def __init__(self, campaign_id: bytes, record: bytes, request: CampaignRequest, place: Placer) -> None:
        self._id = campaign_id
        self._record = record
        self._request = request
        self._place = place
        self._pushes: list[tuple[Place, bytes] | Refusal] = []
        self._by_place: dict[Place, list[bytes]] = {}
        self._size = 0

    def __repr__(self) -> str:
        return f"<Addressed {len(self._pushes)} devices, {self._size} bytes>"

    def address(self, tokens: Iterable[str | Refusal]) -> None:
        """The next devices."""
        pushes, by_place = self._pushes, self._by_place
        for number, written in enumerate(tokens, len(pushes)):
            if isinstance(written, Refusal):
                pushes.append(written)
                continue
            token = read_token(written)
            if token is None:
                pushes.append(msgspec.structs.replace(BAD_TOKEN, pointer=f"/device_tokens/{number}"))
                continue
            place = self._place(self._request, token)
            push = element(self._id, number, bytes.fromhex(token.decode()))
            pushes.append((place, push))
            by_place.setdefault(place, []).append(push)
            self._size += len(push)

    def parcel(self) -> Parcel:
        """What is to be stored."""
        accepted = sum(map(len, self._by_place.values()))
        size = self._size + len(self._record) * len(self._by_place)
        return Parcel(self._by_place, accepted, size, (self._id, self._record))

    def results(self, refused: Mapping[Place, Refusal]) -> list[bytes | Refusal]:
        """For each device, in order, the apns-id of its push or why there is none. ``refused``: places that took
        nothing."""
        return [
            push if isinstance(push, Refusal) else refused.get(push[0]) or apns_id_of(push[1])
            for push in self._pushes
        ]


def admit_campaign(
    request: CampaignRequest, tenant: Tenant, campaign_id: bytes, now_ms: int, place: Placer
) -> Addressed | Refusal:
    """Judge what all pushes have in common; ``now_ms`` is Unix time in milliseconds."""
    [verdict] = admit((request.to(_ANY_TOKEN),), tenant, (campaign_id,), now_ms)
    if isinstance(verdict, Refusal):
        return verdict
    return Addressed(campaign_id, encode_campaign(common_of(verdict)), request, place)
