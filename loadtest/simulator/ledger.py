"""The ledger: every attempt that reached the simulator, by apns-id. The arbiter of "lost" and "repeated".

A test asks it two questions about each push that a tenant was promised: was it accepted, and was it
accepted more than once? The answer is what Apple would know, whether or not the client heard it: a push
whose answer was withheld or died with its connection is accepted all the same.

Held in columns, for a million attempts and more: an apns-id is one 128-bit integer in one dict, everything
else is a cell in an `array`, repeated strings are numbered once. Attempts of one id are linked from the
last back to the first. A million entries take about 200 MB. Device tokens are not kept, only 64 bits of a
hash, so that a ledger written to a file gives nobody's device away.
"""

import hashlib
from array import array
from collections.abc import Iterator
from typing import Any

import msgspec

# Status of an attempt that got no answer; its reason then says why, in words of HTTP/2 or of the script.
NO_ANSWER = 0
_NONE = -1


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the ledger tells it. `at_s` is wall time; `connection` counts from 1."""

    at_s: float
    connection: int
    stream_id: int
    team: str
    topic: str
    status: int
    reason: str
    device_hash: str


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A provider token that a connection had not borne just before. Wall time: when that was, and the token's `iat`."""

    at_s: float
    team: str
    key_id: str
    fingerprint: bytes
    issued_at_s: int


class _Words:
    """Numbers strings, so that a column of them is a column of small integers."""

    def __init__(self) -> None:
        self.spelled: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        number = self._numbers.get(word)
        if number is None:
            number = self._numbers[word] = len(self.spelled)
            self.spelled.append(word)
        return number


class Ledger:
    """Attempts in order of arrival. Written by connections, read by tests and by the control door."""

    def __init__(self) -> None:
        # Moves with every clear(), so that a connection knows to name its provider token again.
        self.epoch = 0
        self.clear()

    def __repr__(self) -> str:
        return (
            f"<Ledger attempts={len(self._at_s)} accepted={self.accepted_distinct} repeated={self.repeated}>"
        )

    def __len__(self) -> int:
        return len(self._at_s)

    def clear(self) -> None:
        """Forget every attempt and every count; connections that stay open keep their numbers."""
        self.epoch += 1
        self._words = _Words()
        self._last: dict[int, int] = {}
        self._at_s = array("d")
        self._connection = array("I")
        self._stream_id = array("I")
        self._team = array("I")
        self._topic = array("I")
        self._status = array("H")
        self._reason = array("I")
        self._device_hash = array("Q")
        # Where the previous attempt of the same id is, and how often the id had been accepted and tried
        # up to and including this attempt.
        self._previous = array("q")
        self._accepted = array("H")
        self._ordinal = array("H")
        self.accepted_distinct = 0
        self.repeated = 0
        self.connections_opened = 0
        self._teams: dict[int, set[str]] = {}
        self._bearers: dict[str, set[bytes]] = {}
        self._sightings: dict[int, list[Sighting]] = {}
        self._by_outcome: dict[tuple[int, str], int] = {}
        self._breaches: dict[str, int] = {}

    def opened(self) -> None:
        """A connection finished its TLS handshake."""
        self.connections_opened += 1

    def seen(self, connection: int, token: Sighting) -> None:
        """A connection used this provider token. Called when it changes, not per push."""
        self._teams.setdefault(connection, set()).add(token.team)
        self._bearers.setdefault(token.key_id, set()).add(token.fingerprint)
        self._sightings.setdefault(connection, []).append(token)

    def shown(self, connection: int, team: str) -> None:
        """A connection used its certificate, which is this team's. Its tokens, if it bears any, are seen as well."""
        self._teams.setdefault(connection, set()).add(team)

    def breached(self, fault: str) -> None:
        """A client broke the rules of HTTP/2; `fault` says how, in the words of the protocol engine."""
        self._breaches[fault] = self._breaches.get(fault, 0) + 1

    def record(
        self,
        apns_id: str,
        *,
        at_s: float,
        connection: int,
        stream_id: int,
        team: str,
        topic: str,
        status: int,
        reason: str,
        device_token: bytes,
    ) -> None:
        """Add an attempt. `apns_id` is a UUID; a status of NO_ANSWER says that none was or will be sent."""
        key = int(apns_id.replace("-", ""), 16)
        row = len(self._at_s)
        before = self._last.get(key, _NONE)
        self._last[key] = row
        accepted, ordinal = (self._accepted[before], self._ordinal[before]) if before >= 0 else (0, 0)
        if status == 200:
            accepted = min(accepted + 1, 0xFFFF)
            if accepted == 1:
                self.accepted_distinct += 1
            elif accepted == 2:
                self.repeated += 1
        outcome = (status, reason)
        self._by_outcome[outcome] = self._by_outcome.get(outcome, 0) + 1
        number = self._words.number
        self._at_s.append(at_s)
        self._connection.append(connection)
        self._stream_id.append(stream_id)
        self._team.append(number(team))
        self._topic.append(number(topic))
        self._status.append(status)
        self._reason.append(number(reason))
        self._device_hash.append(int.from_bytes(hashlib.blake2b(device_token, digest_size=8).digest()))
        self._previous.append(before)
        self._accepted.append(accepted)
        self._ordinal.append(min(ordinal + 1, 0xFFFF))

    def accepted(self, apns_id: str) -> int:
        """How often this id was accepted: 0 never, 1 as it should be, more when it was repeated."""
        row = self._row(apns_id)
        return 0 if row is None else self._accepted[row]

    def attempt_count(self, apns_id: str) -> int:
        """How many attempts of this id arrived, answered or not."""
        row = self._row(apns_id)
        return 0 if row is None else self._ordinal[row]

    def attempts(self, apns_id: str) -> list[Attempt]:
        """All attempts of this id, oldest first."""
        row = self._row(apns_id)
        return [] if row is None else self._attempts(row)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Each apns-id with its attempts, in order of first arrival; lazily, and safe while writing goes on."""
        for key in list(self._last):
            row = self._last.get(key)
            if row is not None:
                yield {"apns_id": _spell(key), "attempts": self._attempts(row)}

    def summary(self) -> dict[str, Any]:
        """Counts for a report; every key is there even when nothing happened."""
        refused: dict[str, int] = {}
        unanswered: dict[str, int] = {}
        for (status, reason), count in self._by_outcome.items():
            if status == NO_ANSWER:
                unanswered[reason] = count
            elif status != 200:
                refused[reason] = refused.get(reason, 0) + count
        return {
            "attempts": len(self._at_s),
            "apns_ids": len(self._last),
            "accepted": self.accepted_distinct,
            "repeated": self.repeated,
            "refused": refused,
            "unanswered": unanswered,
            "connections_opened": self.connections_opened,
            "teams_per_connection_max": max((len(teams) for teams in self._teams.values()), default=0),
            "protocol_errors": dict(self._breaches),
            "bearers_per_key": {key_id: len(bearers) for key_id, bearers in self._bearers.items()},
        }

    def teams(self, connection: int) -> frozenset[str]:
        """The teams whose tokens or certificate this connection carried; more than one is a fault of the client."""
        return frozenset(self._teams.get(connection, ()))

    def connections(self) -> dict[int, frozenset[str]]:
        """The teams of every connection that carried a token or a push with a certificate, by connection number."""
        return {number: frozenset(teams) for number, teams in self._teams.items()}

    def sightings(self) -> dict[int, tuple[Sighting, ...]]:
        """The provider tokens of every connection that carried one, in the order in which it changed to them."""
        return {number: tuple(tokens) for number, tokens in self._sightings.items()}

    def _row(self, apns_id: str) -> int | None:
        return self._last.get(int(apns_id.replace("-", ""), 16))

    def _attempts(self, row: int) -> list[Attempt]:
        spelled = self._words.spelled
        attempts = []
        while row >= 0:
            attempts.append(
                Attempt(
                    at_s=self._at_s[row],
                    connection=self._connection[row],
                    stream_id=self._stream_id[row],
                    team=spelled[self._team[row]],
                    topic=spelled[self._topic[row]],
                    status=self._status[row],
                    reason=spelled[self._reason[row]],
                    device_hash=f"{self._device_hash[row]:016x}",
                )
            )
            row = self._previous[row]
        return attempts[::-1]


def _spell(key: int) -> str:
    digits = f"{key:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
