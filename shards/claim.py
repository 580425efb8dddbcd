"""What passes between the queues and those who hold their shards: rights to shards, claims, and the ends of claims.

All are plain tuples of what the scripts take and return; nothing here asks Redis.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Holding(NamedTuple):
    """A member's right to a shard: whoever held it before has another fence, and can neither claim nor settle."""

    shard: int
    fence: str


class Taken(NamedTuple):
    """Not acquired: another member holds the shard."""

    shard: int
    holder: str


class Members(NamedTuple):
    """The workers that divide the shards: those that ``live``, and of these those that said so themselves."""

    live: Sequence[str]
    heard: Sequence[str]


class Fenced(NamedTuple):
    """Not done: another worker has taken the shard since."""

    holding: Holding


class Run(NamedTuple):
    """Encoded jobs of one flow and lane that stand together in a claim."""

    lane: str
    flow: str
    jobs: Sequence[bytes]


class Claimed(NamedTuple):
    """The answer to a claim. ``asleep``: the shard has nothing more to take, and rings its bell at the next enqueue.

    ``again_s``: then a flow whose rate is spent may give another job; 0 if there is none.
    """

    holding: Holding
    claim_id: str
    runs: list[Run]
    asleep: bool
    again_s: float = 0.0


class Reclaimed(NamedTuple):
    """What became of the jobs that earlier holders had claimed: they are to be had again, or were buried, since they
    may have been sent and must not be twice (``in_doubt``) or were there whenever a holder died (``poison``)."""

    jobs: int
    in_doubt: int = 0
    poison: int = 0


class Retry(NamedTuple):
    """A job that waits until ``due_ms`` (Unix ms) to be tried again."""

    due_ms: int
    lane: str
    flow: str
    job: bytes


class Burial(NamedTuple):
    """A job that ends unsent, and why; times are Unix ms, and 0 when there is none.

    ``status`` and ``timestamp_ms`` are APNs' own, ``attempts`` includes the last. ``token`` is given when the device
    token is dead, with its ``topic`` and ``environment``: then it is reported apart as well.
    """

    tenant: str
    reason: str
    at_ms: int
    job: bytes
    lane: str = "high"
    status: int = 0
    timestamp_ms: int = 0
    attempts: int = 0
    admitted_ms: int = 0
    token: bytes = b""
    topic: str = ""
    environment: str = ""


class Settlement(NamedTuple):
    """The end of a claim: the jobs not named in it were accepted by APNs.

    Those of the ``rest`` have no fate yet, and go over into the claim ``rest_id``. ``elements``: how many elements of
    each campaign the claim had that are none any more, whether their pushes were accepted or are written as jobs now.
    """

    holding: Holding
    claim_id: str
    retries: Sequence[Retry] = ()
    burials: Sequence[Burial] = ()
    rest_id: str = ""
    rest: Sequence[Run] = ()
    elements: Mapping[bytes, int] = MappingProxyType({})
