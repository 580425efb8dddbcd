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
