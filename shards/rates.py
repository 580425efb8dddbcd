"""The side of tenants' rates that all ingest processes share: one bucket for each tenant that has a rate.

A process does not ask for each push. It is granted a chunk, spends it at home, and gives back what it did not use, so
the rate holds for all processes together and costs a few calls a second. Who asks when, and for how much, is decided
elsewhere; here is the call.
"""

from collections.abc import Sequence
from typing import Final

from shards.errors import StoreRefused
from shards.grant import Ask, Grant
from shards.keys import rate_key
from shards.redis import Call, ScriptConnection, script

_GRANT: Final = script("grant")


class Rates:
    """The call, over one connection. Raises StoreUnavailable, and StoreRefused when Redis refuses the login."""

    def __init__(self, connection: ScriptConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Rates over {self._connection!r}>"

    async def grant(self, asks: Sequence[Ask]) -> list[Grant | StoreRefused]:
        """One answer for each, in one round trip."""
        calls = [
            Call(
                _GRANT,
                (rate_key(ask.tenant),),
                [f"{ask.per_s:.9g}", ask.burst, ask.need, ask.want, ask.back],
            )
            for ask in asks
        ]
        return [
            answer if isinstance(answer, StoreRefused) else Grant(*answer)
            for answer in await self._connection.run(calls)
        ]
