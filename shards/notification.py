"""What a tenant asks for: the words of the HTTP interface, as a Struct that refuses what it does not know."""

from typing import Annotated

import msgspec

from shards.environment import Environment
from shards.lanes import Lane


class Notification(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """One push as a tenant writes it.

    Fields that are absent stay absent on the way to APNs: an absent ``expiration`` lets APNs store the
    notification by its own rule, while 0 means "try once, never store" (Apple, *Sending notification requests to
    APNs*). ``payload`` is kept as the bytes that the tenant wrote.
    """

    device_token: str
    topic: str
    payload: msgspec.Raw
    lane: Lane = Lane.HIGH
    push_type: str = "alert"
    priority: int | None = None
    expiration: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    collapse_id: str | None = None
    environment: Environment = Environment.PRODUCTION


class CampaignRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """One notification for many devices as a tenant writes it: the fields of ``Notification``, but for the device.

    ``device_tokens`` is an array, which is read apart: one of them that is wrong must not spoil the others.
    """

    device_tokens: msgspec.Raw
    topic: str
    payload: msgspec.Raw
    lane: Lane = Lane.HIGH
    push_type: str = "alert"
    priority: int | None = None
    expiration: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    collapse_id: str | None = None
    environment: Environment = Environment.PRODUCTION

    def to(self, device_token: str) -> Notification:
        """The notification for one device."""
        return Notification(
            device_token=device_token,
            topic=self.topic,
            payload=self.payload,
            lane=self.lane,
            push_type=self.push_type,
            priority=self.priority,
            expiration=self.expiration,
            collapse_id=self.collapse_id,
            environment=self.environment,
        )
