"""The two lanes of a shard: ``high`` is served first, ``low`` has a guaranteed share."""

from enum import StrEnum


class Lane(StrEnum):
    HIGH = "high"
    LOW = "low"
