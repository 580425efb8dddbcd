"""The words of a tenant's rate: what a process asks of the bucket that all share, and what it is granted. Pure."""

from typing import NamedTuple


class Ask(NamedTuple):
    """What a process asks of a tenant's bucket, which fills by ``per_s`` pushes a second up to ``burst`` (at least 1).

    ``need`` is granted whole, even beyond what is there, or not at all: when less than one push is there. ``want`` is
    granted as far as it is there; it counts what is needed too. ``back`` was granted earlier and is not used; below 0
    for what was overdrawn.
    """

    tenant: str
    per_s: float
    burst: int
    need: int = 0
    want: int = 0
    back: int = 0


class Grant(NamedTuple):
    """The answer. ``remaining``: pushes that the bucket has now, below 0 for a debt; ``wait_ms`` until it has one."""

    granted: int
    remaining: int
    wait_ms: int
