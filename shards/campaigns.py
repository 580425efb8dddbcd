"""The records of campaigns, as shards keep them, for whoever has elements of theirs in hand."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from shards.campaign import Campaign, decode_campaign
from shards.errors import StoreRefused
from shards.keys import shard_keys
from shards.redis import Call, ScriptConnection, script

_RECALL: Final = script("recall")


class Records:
    """The call, over one connection. Raises StoreUnavailable and StoreRefused."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Records over {self._connection!r}>"

    async def recall(self, wanted: Mapping[int, Collection[bytes]]) -> dict[bytes, Campaign]:
        """The campaigns with these ids, asked of these shards in one round trip; those that can't be found or read are
        left out."""
        calls = [Call(_RECALL, (shard_keys(shard).campaigns,), [*ids]) for shard, ids in wanted.items()]
        found: dict[bytes, Campaign] = {}
        for ids, answer in zip(wanted.values(), await self._connection.run(calls), strict=True):
            if isinstance(answer, StoreRefused):
                raise answer
            for campaign_id, record in zip(ids, answer, strict=True):
                campaign = _read(record)
                if campaign is not None:
                    found[campaign_id] = campaign
        return found


def _read(record: bytes | None) -> Campaign | None:
    if record is None:
        return None
    try:
        return decode_campaign(record)
    except msgspec.DecodeError:
        return None
