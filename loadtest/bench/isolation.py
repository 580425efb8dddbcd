"""``isolation``: two tenants under load, and the credential of one of them fails in every way that APNs knows.

    warm-up │ well │ A's connections are black holes │ released │ A's key is revoked │ A has another key │ drain

A and B are of teams of their own, and each sends single pushes through the API at a fixed rate, whatever becomes of
them. At the other end is the simulator, since only one that reads tokens can tell A from B on one port.

Asked is that B's p99 does not show what happens to A; that A opens no more connections than the back-off and the
pauses of policy let it, as the simulator counts them; that A resumes by itself once its connections, or its key, are
good again; and that in the end every push of both has arrived.

The simulator is one Python process and judges some thousand pushes a second. A's rate limit keeps the drain of its
backlog below that, or B would wait in the simulator and not in the gateway.
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cyclopts import Parameter

from engine.options import EngineOptions
from loadtest.bench import isolation_verdict as verdict
from loadtest.bench.gateway import Gateway, GatewayOptions, push
from loadtest.bench.isolation_verdict import Course, Phase
from loadtest.bench.judgement import judge, told
from loadtest.bench.lab import Lab, lab, wait_until
from loadtest.bench.latency import RunningSimulator, simulator
from loadtest.bench.steady import ID_BYTES, Load, Sender, exchanges
from loadtest.bench.waits import Span, first_acceptances, waits
from loadtest.bench.whereabouts import Whereabouts
from loadtest.teams import MadeUpTeam, make_team, tenant_of
from shards.tenant import Limits, Tenant

WARM_UP_S: Final = 5.0
# longer than a pause, and what was put off for one, may last at the end of a phase
DRAIN_MOST_S: Final = 300.0
CONTROL_S: Final = 60.0
A: Final = 0
B: Final = 1


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class IsolationOptions(GatewayOptions):
    """How much, and for how long."""

    per_s: int = 300
    "Single pushes that each tenant offers the API each second."

    seconds: float = 60.0
    "Length of each phase."

    a_send_per_s: float = 1_500.0
    "A's rate limit, as the gateway keeps it."


def run(options: IsolationOptions) -> dict[str, Any]:
    """One run. Its ``failed`` names what the verdict found wrong, and is empty when all is well."""
    with lab(options.fsync) as place, simulator(place, options.rtt_ms) as running:
        apns = _Apns(running)
        place.create_tenants(2, limits=[Limits(send_per_s=options.a_send_per_s)])
        for team in place.teams:
            apns.register(team)
        gateway = Gateway(place, options, running.port, Path(running.ca_file))
        with _ended(gateway, options):
            gateway.start()
            load_log = place.directory / "load.log"
            spans, connections = _play(place, apns, gateway, options, load_log)
            sent = list(exchanges(load_log))
            wanted = sum(len(each.ids) for each in sent) // ID_BYTES
            drain_s = time.monotonic()
            wait_until(lambda: apns.ledger()["accepted"] >= wanted, "A's backlog", DRAIN_MOST_S, 0.5)
            drained_s = time.monotonic() - drain_s
            survived = gateway.alive
            gateway.stop()
        ledger, made = apns.ledger(), verdict.attempts(apns.entries())
        store = Whereabouts(place.redis.url, [team.tenant for team in place.teams])
        judgement = judge(sent, verdict.record(made), store.found(int(time.time() * 1000)))
        store.close()
    first_s = first_acceptances(verdict.record(made))
    a, b = (team.team_id for team in place.teams)
    opened = {
        phase: (verdict.opened(made, a, span), verdict.opened(made, b, span)) for phase, span in spans.items()
    }
    course = Course(
        options.seconds,
        waits={phase: waits(sent, first_s, B, span) for phase, span in spans.items()},
        opened=opened,
        silent={phase: max(0, connections[phase] - sum(opened[phase])) for phase in spans},
        allowed={phase: _allowed(phase, options) for phase in spans},
        refused={phase: verdict.refused(made, a, span) for phase, span in spans.items()},
        resumed={phase: verdict.resumed(sent, first_s, A, spans[phase]) for phase in verdict.MENDED},
    )
    return {
        **told(judgement),
        "phases": verdict.told(course),
        "drained_for_s": round(drained_s, 1),
        "sink": "simulator",
        "simulator": ledger,
        "options": options.told(),
        "failed": verdict.failures(judgement, course, ledger, survived, gateway.exit_code),
    }


def _play(
    place: Lab, apns: "_Apns", gateway: Gateway, options: IsolationOptions, load_log: Path
) -> tuple[dict[Phase, Span], dict[Phase, int]]:
    """All phases; returns when each was, and how many connections were opened in it."""
    senders = [Sender(place.api_keys[team.tenant], team.topic) for team in place.teams]
    team_a = place.teams[A]
    # the same ids with another key; and another key id
    stranger, successor = make_team(A), make_team(A)._replace(key_id="KEYS999999")

    def replace(tenant: Tenant) -> Tenant:
        return msgspec.structs.replace(tenant, credentials=tenant_of(successor, place.vault).credentials)

    def begin(phase: Phase) -> None:
        match phase:
            case Phase.WELL:
                pass
            case Phase.BLACK_HOLE:
                apns.play([{"match": {"team": team_a.team_id}, "then": [{"do": "black_hole"}]}])
            case Phase.RELEASED:
                apns.play([])
            case Phase.REVOKED:
                apns.register(stranger)
            case Phase.REPLACED:
                apns.register(successor)
                place.change(team_a.tenant, replace)

    load = Load(
        gateway.port,
        senders,
        WARM_UP_S + options.seconds * len(Phase),
        options.per_s * len(senders),
        1,
        options.payload_bytes,
        str(load_log),
    )
    spans: dict[Phase, Span] = {}
    connections: dict[Phase, int] = {}
    with push(load):
        time.sleep(WARM_UP_S)
        until_s = time.time()
        for phase in Phase:
            before = apns.ledger()["connections_opened"]
            begin_s = time.time()
            begin(phase)
            until_s += options.seconds
            time.sleep(max(0.0, until_s - time.time()))
            spans[phase] = Span(begin_s, time.time())
            connections[phase] = apns.ledger()["connections_opened"] - before
    return spans, connections


def _allowed(phase: Phase, options: IsolationOptions) -> int:
    links = EngineOptions().links
    match phase:
        case Phase.WELL:
            return options.workers * links.most
        case Phase.REVOKED:
            return options.workers * verdict.tries_most(links, options.seconds)
        case Phase.BLACK_HOLE | Phase.RELEASED | Phase.REPLACED:
            return options.workers * verdict.dials_most(links, options.seconds)


@contextmanager
def _ended(gateway: Gateway, options: IsolationOptions) -> Iterator[None]:
    """Stops it after the block, and keeps its log if that is wanted."""
    try:
        yield
    finally:
        gateway.stop()
        if options.log_file is not None:
            options.log_file.parent.mkdir(parents=True, exist_ok=True)
            options.log_file.write_text(gateway.log())


class _Apns:
    """The simulator's control door."""

    def __init__(self, running: RunningSimulator) -> None:
        self._url = running.control_url

    def __repr__(self) -> str:
        return f"<_Apns at {self._url}>"

    def register(self, team: MadeUpTeam) -> None:
        """Make the team's key known, in place of one with the same id."""
        known = {"team_id": team.team_id, "key_id": team.key_id, "topics": [team.topic]}
        self._ask("/teams", {**known, "public_key_pem": team.public_key_pem})

    def play(self, rules: list[dict[str, Any]]) -> None:
        """Do wrong as these rules say; none: nothing."""
        self._ask("/script", rules)

    def ledger(self) -> dict[str, Any]:
        counts: dict[str, Any] = json.loads(self._ask("/ledger"))
        return counts

    def entries(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._ask("/ledger/entries").splitlines())

    def _ask(self, path: str, document: object = None) -> bytes:
        content = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(self._url + path, content, timeout=CONTROL_S) as answer:
            return bytes(answer.read())
