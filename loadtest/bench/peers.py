"""``peers``: Clarion's drain beside other ways of sending to APNs, to the same sink on the same machine.

All run in turn, round after round, so that what else the machine does falls on all alike. A peer's figures are of the
window from the first look that finds pushes at the sink to the last at which all its processes run and some pushes
are still to come; so its start, its TLS handshakes and its tail are left out, as ``drain`` leaves out Clarion's.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cyclopts import Parameter
from redis import Redis

from engine.apns.bearer import Bearer
from loadtest.bench import drain
from loadtest.bench import peers_verdict as verdict
from loadtest.bench.cpu import children, process_cpu_s
from loadtest.bench.drain import DrainOptions
from loadtest.bench.lab import lab, payload
from loadtest.bench.peer_programs import PEERS, Absent, Peer, Program
from loadtest.bench.peers_verdict import CLARION, Facts, Round
from loadtest.peers.task import Task, new_push
from loadtest.sink.nginx import NginxSink
from loadtest.teams import MadeUpTeam, make_team
from runtime.parent_death import die_with_parent

LOOK_EVERY_S: Final = 0.02
# a peer that has sent nothing for so long has come to a stop
STILL_MOST_S: Final = 15.0
RUN_MOST_S: Final = 120.0
END_MOST_S: Final = 30.0
LAST_WORDS: Final = 300
QUEUE: Final = "jobs"
ENQUEUE_BATCH: Final = 1000


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PeersOptions:
    """Who takes part, how often, and with how much."""

    rounds: int = 3
    "Times that all run; the figures are medians."

    only: tuple[str, ...] = ()
    "Leave out all but these."

    share: float = 1.0
    "Of what each sends in a round by default, so much."

    clarion_pushes: int = 500_000
    "What Clarion sends in a round by default."

    payload_bytes: int = 256
    "Size of each payload."

    setting: tuple[str, ...] = ()
    "Another setting of a peer than its best, as PEER.NAME=NUMBER."


class PeerFailed(Exception):
    """A peer did not send what it was told to; the message says how it ended."""


class _Look(NamedTuple):
    """What has come, and what it has cost so far."""

    at_s: float
    pushes: int
    client_s: float
    redis_s: float
    sink_s: float


def run(options: PeersOptions) -> dict[str, Any]:
    """All rounds. Its ``failed`` names what missed the mark."""
    peers = _peers(options)
    taking_part = [name for name in (CLARION, *peers) if not options.only or name in options.only]
    own = DrainOptions(
        jobs=round(options.clarion_pushes * options.share), payload_bytes=options.payload_bytes, stages=False
    )
    facts = {CLARION: _own_facts(own)}
    absent: dict[str, str] = {}
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="clarion-peers-") as directory:
        programs: dict[str, Program] = {}
        for name in taking_part:
            if name in peers:
                try:
                    programs[name] = peers[name].make(Path(directory))
                except Absent as why:
                    absent[name] = str(why)
                else:
                    facts[name] = _facts(peers[name], programs[name])
        rounds: dict[str, list[Round]] = {name: [] for name in taking_part if name in facts}
        for _ in range(options.rounds):
            for name, done in rounds.items():
                try:
                    if name == CLARION:
                        done.append(_own_round(own))
                    else:
                        done.append(_round(peers[name], programs[name], options.payload_bytes))
                except PeerFailed as fault:
                    faults[name] = str(fault)
    return {
        "sink": NginxSink.kind,
        "payload_bytes": options.payload_bytes,
        "rounds": options.rounds,
        "peers": verdict.told(rounds, facts),
        "absent": absent,
        "failed": verdict.failures(rounds, faults),
    }


def _peers(options: PeersOptions) -> dict[str, Peer]:
    """By name, with what the options change. ValueError for options that fit none."""
    peers = {
        peer.name: peer._replace(pushes=round(peer.pushes * options.share), settings=dict(peer.settings))
        for peer in PEERS
    }
    for name in options.only:
        if name not in (CLARION, *peers):
            raise ValueError(f"no peer is called {name!r}: write one of {', '.join((CLARION, *peers))}")
    for given in options.setting:
        whose, _, what = given.partition(".")
        what, _, value = what.partition("=")
        known = ("processes", *peers[whose].settings) if whose in peers else ()
        if what not in known or not value.isdecimal():
            raise ValueError(f"{given!r} is no setting: write PEER.NAME=NUMBER, as {_example(peers, whose)}")
        if what == "processes":
            peers[whose] = peers[whose]._replace(processes=int(value))
        else:
            peers[whose] = peers[whose]._replace(settings={**peers[whose].settings, what: int(value)})
    return peers


def _example(peers: Mapping[str, Peer], whose: str) -> str:
    peer = peers.get(whose, PEERS[0])
    return ", ".join(f"{peer.name}.{name}={number}" for name, number in peer.settings.items())


def _facts(peer: Peer, program: Program) -> Facts:
    return Facts(program.version, {"processes": peer.processes, **peer.settings, "pushes": peer.pushes})


def _own_facts(own: DrainOptions) -> Facts:
    settings = {"processes": own.workers, "tenants": own.tenants, "links": own.links, "pushes": own.jobs}
    return Facts(version("clarion"), settings)


def _own_round(own: DrainOptions) -> Round:
    drained = drain.run(own)
    return Round(
        drained["pushes_per_s"],
        drained["engine_us_per_push"],
        drained["sink_us_per_push"],
        drained["redis_us_per_push"],
        drained["lost"],
    )


def _round(peer: Peer, program: Program, payload_bytes: int) -> Round:
    """Raises PeerFailed."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-peer-")))
        team = make_team(0)
        key_file = directory / "key.p8"
        key_file.write_bytes(team.private_key_pem)
        sink = stack.enter_context(NginxSink(directory / "sink", echo_ids=peer.needs_ids))
        task = _task(peer, team, key_file, sink, payload(payload_bytes).decode())
        redis: Sequence[int] = ()
        if peer.queued:
            place = stack.enter_context(lab())
            _enqueue(place.redis.url, task)
            task = msgspec.structs.replace(task, redis_socket=str(place.redis.socket), queue=QUEUE)
            redis = [place.redis_pid]
        log = directory / "log"
        with _started(peer, program, task, directory, log) as processes:
            first, last = _watch(sink, peer.pushes, processes, redis, log)
            _await_end(processes, log)
        pushes = last.pushes - first.pushes
        return Round(
            pushes / (last.at_s - first.at_s),
            1e6 * (last.client_s - first.client_s) / pushes,
            1e6 * (last.sink_s - first.sink_s) / pushes,
            1e6 * (last.redis_s - first.redis_s) / pushes if peer.queued else None,
            max(0, peer.pushes - sink.pushes()),
        )


def _task(peer: Peer, team: MadeUpTeam, key_file: Path, sink: NginxSink, body: str) -> Task:
    key = load_pem_private_key(team.private_key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    token, _ = Bearer(key, team.team_id, team.key_id).token(time.time())
    return Task(
        host="localhost",
        port=sink.port,
        origin=f"https://localhost:{sink.port}",
        ca_file=str(sink.ca_file),
        pushes=peer.pushes,
        topic=team.topic,
        payload=body,
        key_file=str(key_file),
        key_id=team.key_id,
        team_id=team.team_id,
        bearer=token.decode(),
        settings=dict(peer.settings),
    )


def _enqueue(url: str, task: Task) -> None:
    """Jobs as such gateways keep them: JSON, in one list."""
    redis = Redis.from_url(url)
    body = msgspec.Raw(task.payload.encode())
    try:
        for begin in range(0, task.pushes, ENQUEUE_BATCH):
            pushes = [new_push() for _ in range(min(ENQUEUE_BATCH, task.pushes - begin))]
            redis.lpush(QUEUE, *(msgspec.json.encode(_job(push, task, body)) for push in pushes))
    finally:
        redis.close()


def _job(push: Any, task: Task, body: msgspec.Raw) -> Mapping[str, Any]:
    return {"id": push.apns_id, "device_token": push.device_token, "topic": task.topic, "payload": body}


@contextmanager
def _started(
    peer: Peer, program: Program, task: Task, directory: Path, log: Path
) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """The peer's processes, which end with the block, or with this process."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as words:
            for number in range(peer.processes):
                own = task.pushes // peer.processes + (number < task.pushes % peer.processes)
                share = msgspec.structs.replace(task, pushes=own)
                file = directory / f"task-{number}.json"
                file.write_bytes(msgspec.json.encode(share))
                processes.append(
                    subprocess.Popen(
                        program.command(share, file),
                        stdin=subprocess.DEVNULL,
                        stdout=words,
                        stderr=words,
                        preexec_fn=partial(die_with_parent, os.getpid()),  # prctl and getppid only
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _watch(
    sink: NginxSink,
    pushes: int,
    processes: "Sequence[subprocess.Popen[bytes]]",
    redis: Sequence[int],
    log: Path,
) -> tuple[_Look, _Look]:
    """The first look that finds pushes, and the last before they have all come or a process has ended."""
    first = last = None
    give_up_s = time.monotonic() + RUN_MOST_S
    moved_s = time.monotonic()
    while (now := _look(sink, processes, redis)) is not None and now.pushes < pushes:
        if now.pushes and first is None:
            first = now
        if last is None or now.pushes > last.pushes:
            moved_s = now.at_s
        last = now
        if now.at_s > min(give_up_s, moved_s + STILL_MOST_S):
            raise PeerFailed(f"came to a stop after {now.pushes} of {pushes} pushes{_last_words(log)}")
        time.sleep(LOOK_EVERY_S)
    if first is None or last is None or last.pushes == first.pushes:
        raise PeerFailed(f"sent too little to be measured: {sink.pushes()} of {pushes}{_last_words(log)}")
    return first, last


def _look(
    sink: NginxSink, processes: "Sequence[subprocess.Popen[bytes]]", redis: Sequence[int]
) -> _Look | None:
    """None when a process has ended, since the others then have the machine to themselves."""
    at_s, pushes = time.monotonic(), sink.pushes()
    try:
        pids = [pid for process in processes for pid in (process.pid, *children(process.pid))]
        client_s = process_cpu_s(pids)
    except OSError:
        return None
    if any(process.poll() is not None for process in processes):
        return None
    return _Look(at_s, pushes, client_s, process_cpu_s(redis), process_cpu_s(sink.pids))


def _await_end(processes: "Sequence[subprocess.Popen[bytes]]", log: Path) -> None:
    """Raises PeerFailed unless all end by themselves, and say that all was well."""
    end_s = time.monotonic() + END_MOST_S
    for process in processes:
        try:
            code = process.wait(max(0.0, end_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"did not end by itself{_last_words(log)}") from None
        if code:
            raise PeerFailed(f"ended with code {code}{_last_words(log)}")


def _last_words(log: Path) -> str:
    words = log.read_text(errors="replace").strip()[-LAST_WORDS:]
    return f": {words}" if words else ""
