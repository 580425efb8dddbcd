"""One provider token for a credential, whichever process of whichever host speaks; one team on a connection.

Four worker processes on two hosts whose clocks disagree, for eighty minutes of their time. The simulator judges each
push as Apple does, and its ledger knows which tokens each connection bore, and when.
"""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from clocked_worker import SharedClock
from worker_process import Place, Worker, run, until

from engine.apns.bearer import GRID_S
from loadtest.simulator.ledger import Sighting
from loadtest.simulator.vocabulary import PROVIDER_TOKEN_CHANGE_MIN_S
from shards.tenants import DEFAULT_SHARDS

PROGRAM = str(Path(__file__).with_name("clocked_worker.py"))
TEAMS = 2
PROCESSES = 4
# so many that some of them fall to each process
PUSHES = 48
MINUTE_S = 60.0
MINUTES = 80
# which processes are killed in which minute: their new links begin in the second cell of the grid, which lasts from the
# 24th minute to the 49th, and one soon before its end
KILLED = {30: ("a0", "b0"), 46: ("a1",)}
# in the 49th and 74th minute links of one cell move, while others keep the token of the next
EDGES = 2


class Fleet:
    """Two hosts, ``skew_s`` before and behind the right time, and the tokens that were in use each minute."""

    def __init__(self, place: Place, clock_file: Path, clock: SharedClock, skew_s: float) -> None:
        self.place = place
        self.clock = clock
        # for each minute, key id → the tokens that were in use
        self.in_use: list[dict[str, set[bytes]]] = []
        self._plain = {"program": PROGRAM, "clock": str(clock_file)}
        self._hosts = {"a": skew_s, "b": -skew_s}

    async def start(self, node: str) -> Worker:
        return await self.place.worker(node=node, skew_s=self._hosts[node[0]], **self._plain)

    async def minute(self) -> None:
        """Push for both teams over every process, until all was accepted; then it is a minute later."""
        ids = [await self.place.enqueue(self.place.jobs(PUSHES, team), team) for team in range(TEAMS)]
        pushed = [each for of_team in ids for each in of_team]
        await until(lambda: not self.place.accepted(pushed)[0], lambda: self.place.simulator)
        ledger = self.place.simulator.ledger
        borne = ledger.sightings()
        tokens: dict[str, set[bytes]] = defaultdict(set)
        for attempt in (attempt for each in pushed for attempt in ledger.attempts(each)):
            token = [each for each in borne[attempt.connection] if each.at_s <= attempt.at_s][-1]
            tokens[token.key_id].add(token.fingerprint)
        self.in_use.append(tokens)
        self.clock.forward(MINUTE_S)


def in_use(fleet: Fleet, first: int, minutes: int) -> list[int]:
    """How many different tokens of each credential were in use in those minutes."""
    found: dict[str, set[bytes]] = defaultdict(set)
    for tokens in fleet.in_use[first : first + minutes]:
        for key_id, fingerprints in tokens.items():
            found[key_id] |= fingerprints
    return [len(fingerprints) for fingerprints in found.values()]


def changes_too_soon(sightings: dict[int, tuple[Sighting, ...]]) -> list[Any]:
    return [
        (connection, before, after)
        for connection, tokens in sightings.items()
        for before, after in pairwise(tokens)
        if after.at_s - before.at_s < PROVIDER_TOKEN_CHANGE_MIN_S
    ]


@pytest.mark.parametrize("skew_s", [2.0, 60.0])
def test_a_fleet_shows_apns_one_token_for_each_credential(
    redis_url: str, tmp_path: Path, skew_s: float
) -> None:
    """One token within a cell of the grid, and two at once from the first link that begins in the next. (Twenty minutes
    around an edge may see three: some links move, others keep theirs, and before the edge there was the oldest.)

    With clocks that are a minute fast and a minute slow, the fast host turns to a new token two minutes before the slow
    one: for these two minutes one more is in use. But a connection is one process's, with one clock, so that its
    changes are as far apart as ever. A token is early by no more than its host's clock is fast, and never an hour old.
    """
    clock_file = tmp_path / "clock"
    clock = SharedClock(clock_file)
    # a minute behind the edge of the grid, for the slow host too
    clock.forward(GRID_S - clock() % GRID_S + MINUTE_S + skew_s)

    async def scenario() -> None:
        async with Place(redis_url, tmp_path, TEAMS, clock=clock, spread=DEFAULT_SHARDS) as place:
            fleet = Fleet(place, clock_file, clock, skew_s)
            workers = {node: await fleet.start(node) for node in ("a0", "a1", "b0", "b1")}
            for minute in range(MINUTES):
                for node in KILLED.get(minute, ()):
                    workers[node].end()
                    workers[node] = await fleet.start(node)
                await fleet.minute()
            ledger = place.simulator.ledger
            sightings, summary = ledger.sightings(), ledger.summary()

            assert summary["refused"] == {} and summary["protocol_errors"] == {}
            # every process has spoken for every team, and no connection for two
            assert all(len(teams) == 1 for teams in ledger.connections().values())
            assert len(ledger.connections()) >= TEAMS * PROCESSES
            assert in_use(fleet, 0, 20) == [1] * TEAMS
            assert in_use(fleet, 20, 20) == [2] * TEAMS
            assert max(max(in_use(fleet, minute, 20)) for minute in range(MINUTES - 20)) == 3
            assert changes_too_soon(sightings) == []
            early_s = [token.issued_at_s - token.at_s for tokens in sightings.values() for token in tokens]
            assert max(early_s) <= skew_s
            # links have moved, or nothing of this was put to the test
            assert max(map(len, sightings.values())) >= 2
            most = [max(in_use(fleet, minute, 1)) for minute in range(MINUTES)]
            assert max(most) == (2 if skew_s < MINUTE_S / 2 else 3), most
            assert most.count(3) <= EDGES * 2 * skew_s / MINUTE_S, most

    run(scenario, within_s=300.0)
