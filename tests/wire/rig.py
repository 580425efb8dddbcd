"""A pool or a bare link against the simulator, on one event loop, with clocks that a test may move.

The receiver of outcomes is the worker's own ``Fates``, so what a claim comes to is what Redis would be told.
"""

import asyncio
import itertools
import ssl
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from engine.apns.bearer import Bearer
from engine.apns.endpoint import Endpoint, endpoint
from engine.apns.headers import Held, ProfileBook
from engine.apns.identity import Identity
from engine.link.contexts import Contexts, tls_context
from engine.link.credentials import Identities
from engine.link.dial import dial
from engine.link.host import Host
from engine.link.link import Link, Outcomes
from engine.link.pool import Pool, PoolKey
from engine.policy.links import LinkOptions
from engine.policy.retry import RetryOptions
from engine.worker.conditions import ConditionLog
from engine.worker.endings import Endings
from engine.worker.fates import Fates
from engine.worker.hand import Claim, Hand, HeldRun
from engine.worker.measures import WORKER
from engine.worker.pools import Pools
from engine.worker.router import Router
from engine.worker.waits import Waits
from loadtest.simulator.push_authority import Issued
from loadtest.simulator.server import Simulator, SimulatorOptions, Team
from loadtest.teams import MadeUpTeam, certificate_of, issue, make_team
from runtime.measures import Sheet
from shards.claim import Holding
from shards.job import Job, decode_job, new_ids
from shards.key_files import load_p8
from shards.vault import Vault

WAIT_S = 10.0
PAYLOAD = b'{"aps":{"alert":"hello"}}'

_numbers = itertools.count()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario on the loop that a worker has; what its callbacks raise fails the test."""
    unseen: list[dict[str, Any]] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        async with asyncio.timeout(3 * WAIT_S):
            await scenario()

    uvloop.run(guarded())
    assert not unseen, unseen


async def until(holds: Callable[[], Any], what: Callable[[], Any] = lambda: "") -> None:
    """Wait until it holds; a test that fails here shows ``what`` it last saw."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, what()
        await asyncio.sleep(0.002)


def job(team: MadeUpTeam, **fields: Any) -> Job:
    number = next(_numbers)
    # an id keeps all but the last bits of its randomness
    [apns_id] = new_ids(1_700_000_000_000, (number << 16).to_bytes(10))
    plain = {"id": apns_id, "device_token": b"%064x" % number, "topic": team.topic, "payload": PAYLOAD}
    return Job(**{**plain, **fields})


class Clock:
    """A clock that runs, and that a test may put forward."""

    def __init__(self, reads: Callable[[], float]) -> None:
        self._reads = reads
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return self._reads() + self.ahead_s


class Watcher:
    """The owner of a bare link: keeps what it is told, and how often."""

    def __init__(self) -> None:
        self.accepted: list[Held] = []
        self.others: Outcomes = []
        self.writables = 0
        self.closes = 0

    def outcomes(self, link: Link, accepted: list[Held], others: Outcomes) -> None:
        self.accepted += accepted
        self.others += others

    def writable(self, link: Link) -> None:
        self.writables += 1

    def closed(self, link: Link) -> None:
        self.closes += 1

    def said(self) -> list[Any]:
        return [outcome for _, outcome in self.others]


class Rig:
    """``async with Rig() as rig``: a simulator with teams, and what can be pushed to it with."""

    def __init__(self, teams: int = 1, tls_dir: Path | None = None, **options: Any) -> None:
        self.clock, self.wall = Clock(time.monotonic), Clock(time.time)
        self.simulator = Simulator(SimulatorOptions(tls_dir=tls_dir, **options), clock=self.wall)
        self.teams = [make_team(number) for number in range(teams)]
        self.finished: list[Claim] = []
        self.hand = Hand(1_000_000, self.finished.append)
        self.endings = Endings(self.hand, RetryOptions(), wall=self.wall)
        self.waits = Waits(Sheet(WORKER))
        self.fates = Fates(
            self.hand,
            self.endings,
            ConditionLog(None, wall=self.wall),
            self.waits,
            lambda: None,
            wall=self.wall,
            clock=self.clock,
        )
        self.pools: list[Pool] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Rig":
        await self._stack.enter_async_context(self.simulator)
        for team in self.teams:
            self.simulator.register(
                Team(
                    team_id=team.team_id,
                    key_id=team.key_id,
                    public_key_pem=team.public_key_pem,
                    topics=(team.topic,),
                )
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool in self.pools:
            pool.abort()
        await until(lambda: not any(pool.links for pool in self.pools), lambda: self.pools)
        await self._stack.aclose()

    @property
    def at(self) -> Endpoint:
        return endpoint(f"https://localhost:{self.simulator.port}")

    @property
    def context(self) -> ssl.SSLContext:
        return tls_context(self.simulator.ca_file)

    @property
    def contexts(self) -> Contexts:
        return Contexts(self.simulator.ca_file)

    def bearer(self, team: int = 0) -> Bearer:
        made = self.teams[team]
        return Bearer(load_p8(made.private_key_pem), made.team_id, made.key_id)

    def certificate(self, team: int = 0, issued: Issued | None = None, **fields: Any) -> Identity:
        """What a link shows that has a certificate of that team's, as a worker finds it in the store."""
        made, vault = self.teams[team], Vault(bytes(32))
        issued = issued or issue(made, self.simulator.push_authority, **fields)
        return Identities(vault).of(made.tenant, certificate_of(made, issued, vault))

    def host(self, at: Endpoint | None = None, **options: Any) -> Host:
        """What several pools share, with a clock that a test may put forward."""
        return Host(at or self.at, self.contexts, LinkOptions(**options), clock=self.clock)

    def pool(
        self,
        team: int = 0,
        at: Endpoint | None = None,
        host: Host | None = None,
        identity: Identity | None = None,
        **options: Any,
    ) -> Pool:
        """A pool that is tended every 10 ms, as a worker does twice a second; without an identity the team's bearer."""
        identity = identity or self.bearer(team)
        # answers come late whenever this machine does something else
        quick = {"apart_s": 0.02, "full_s": 0.02, "redial_first_s": 0.05, "late_s": 5.0}
        link_options = LinkOptions(**{**quick, **options})
        pool = Pool(
            PoolKey("production", identity.team_id, identity.key_id, identity.fingerprint),
            host or Host(at or self.at, self.contexts, link_options, clock=self.clock),
            identity,
            self.fates,
            link_options,
            clock=self.clock,
            wall=self.wall,
        )
        self.pools.append(pool)
        self._tend(pool)
        return pool

    def router(
        self,
        directory: Any,
        vault: Vault,
        options: LinkOptions = LinkOptions(),  # noqa: B008
        *,
        held: Collection[int] = range(64),
    ) -> Router:
        """A worker's router, of 64 shards, with pools of its own to one host."""
        host = self.host()
        hosts = {"production": host, "sandbox": host}
        pools = Pools(
            hosts,
            self.fates,
            self.endings,
            options,
            lambda: True,
            lambda pool: made.leave(pool),
            clock=self.clock,
        )
        made = Router(directory, vault, pools, self.fates, 64, held, wall=self.wall, clock=self.clock)
        self.endings._rests = made.rests
        return made

    def _tend(self, pool: Pool) -> None:
        pool.tend()
        timer = asyncio.get_running_loop().call_later(0.01, self._tend, pool)
        self._stack.callback(timer.cancel)

    def held(self, number: int, team: int = 0, **fields: Any) -> tuple[Claim, list[Held]]:
        """A claim of so many jobs, taken in hand."""
        claim = Claim(Holding(0, "1.a"), f"1.a:{next(_numbers)}", number)
        self.hand.take(claim, [(f"tenant-{team}", number)])
        run = HeldRun(claim, "high", f"tenant-{team}")
        return claim, [(job(self.teams[team], **fields), run) for _ in range(number)]

    def push(self, pool: Pool, number: int, team: int = 0, **fields: Any) -> tuple[Claim, list[str]]:
        """Hand so many jobs to a pool; returns their claim and their ids."""
        claim, held = self.held(number, team, **fields)
        pool.add(held)
        pool.pump()
        return claim, ids(held)

    async def warm_pool(self, team: int = 0, **options: Any) -> Pool:
        """A pool with one link, on which a push was accepted."""
        pool = self.pool(team, **{"most": 1, "steady_s": 0.0, **options})
        claim, _ = self.push(pool, 1, team)
        await until(lambda: claim.left == 0 and pool.links[0].room() > 1, lambda: pool)
        return pool

    def push_again(self, pool: Pool, claim: Claim) -> tuple[Claim, list[str]]:
        """What a claim put off comes again, as the shard would bring it when it is due."""
        again = Claim(Holding(0, 1), f"1:{next(_numbers)}", len(claim.retries))
        self.hand.take(again, [("tenant-0", len(claim.retries))])
        run = HeldRun(again, "high", "tenant-0")
        held: list[Held] = [(decode_job(retry.job), run) for retry in claim.retries]
        pool.add(held)
        pool.pump()
        return again, ids(held)

    async def link(self, watcher: Watcher, team: int = 0) -> Link:
        """A link of its own, without a pool."""

        def make() -> Link:
            book = ProfileBook(self.at.authority, self.bearer(team).badge(self.wall()))
            return Link(watcher, book, self.clock)

        link = await dial(self.at, self.context, make, lambda addresses: 0, WAIT_S)
        self._stack.callback(link.abort)
        return link

    def times_accepted(self, pushed: list[str]) -> set[int]:
        return {self.simulator.ledger.accepted(apns_id) for apns_id in pushed}

    def times_tried(self, pushed: list[str]) -> set[int]:
        return {self.simulator.ledger.attempt_count(apns_id) for apns_id in pushed}


def ids(held: list[Held]) -> list[str]:
    return [entry[0].id.decode() for entry in held]


def retried(claim: Claim) -> list[str]:
    """The ids of a claim's jobs that are to be tried again later."""
    return [decode_job(retry.job).id.decode() for retry in claim.retries]
