"""A tenant and its limits, as they are stored.

Drawer rule as for jobs: array-like, growing only at the end, with defaults.
"""

from typing import Final

import msgspec

from shards.credential import Credential

# pushes a second: a push in 1,000 s. What is divided by less than that may be more than a float or an integer of
# Redis' can hold.
RATE_LEAST: Final = 0.001


class Limits(msgspec.Struct, array_like=True, frozen=True):
    """What a tenant may ask of the gateway. 0 means: no limit of its own. Rates are 0, or from ``RATE_LEAST``.

    ``weight`` is its share when others wait too: a tenant of weight 2 is served twice as much as one of weight 1.
    ``send_per_s``: pushes handed to APNs. ``in_flight_most``: pushes in workers' hands, waiting or not yet answered.
    ``admit_per_s``: pushes taken in at the API, up to ``admit_burst`` at once (0: one second's worth).
    ``queue_most``: pushes of an environment that may stand in the queues, above which no more are taken in (0: the
    gateway's default).
    """

    weight: int = 1
    send_per_s: float = 0.0
    in_flight_most: int = 0
    admit_per_s: float = 0.0
    admit_burst: int = 0
    queue_most: int = 0


class Tenant(msgspec.Struct, array_like=True, frozen=True):
    """A company on this gateway.

    ``topics`` are the bundle ids of its applications. ``spread`` is the number of shards that its devices are hashed
    over. ``in_doubt`` is what becomes of a push when nobody can know whether APNs had it: "resend" (it may arrive
    twice) or "bury" (it may not arrive, as suits one-time codes). Nothing is sent from ``paused`` lanes, though pushes
    are taken in for them; a tenant that is ``disabled`` may neither send nor hand in.
    """

    id: str
    topics: tuple[str, ...] = ()
    credentials: tuple[Credential, ...] = ()
    spread: int = 4
    in_doubt: str = "resend"
    limits: Limits = Limits()
    paused: tuple[str, ...] = ()
    disabled: bool = False
    created_ms: int = 0

    @property
    def once_at_most(self) -> bool:
        """Whether its pushes must not arrive twice."""
        return self.in_doubt == "bury"

    def credential(self, name: str) -> Credential | None:
        return next((each for each in self.credentials if each.name == name), None)


encode_tenant: Final = msgspec.msgpack.Encoder().encode
decode_tenant: Final = msgspec.msgpack.Decoder(Tenant).decode
