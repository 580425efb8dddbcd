"""The peers: what each is set to, how it is made ready, and how it is started.

The settings are the best of those that were tried on two CPUs with the sink and the peer on them; what was tried is
written beside them. A peer whose tool is missing is absent, and says what to install.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from loadtest.peers.task import Task, new_push
from loadtest.programs import TOP, program

SOURCES: Final = TOP / "loadtest" / "peers"
MAKE_MOST_S: Final = 300.0
EXTRA: Final = ".venv/bin/python -m pip install -e '.[peers]'"
# of h2load, which can't make device tokens up
PATHS: Final = 1000


class Absent(Exception):
    """The peer can't be started here; the message says what to install."""


class Program(NamedTuple):
    """A peer that is ready. ``command`` starts it on a task, which is also in that file."""

    version: str
    command: Callable[[Task, Path], Sequence[str]]


class Peer(NamedTuple):
    """One way of sending.

    ``processes`` of it are started, and each has its share of the pushes. ``queued``: its jobs wait in Redis.
    ``needs_ids``: it can't do without the apns-id in the sink's answers.
    """

    name: str
    pushes: int
    processes: int
    settings: Mapping[str, int]
    make: Callable[[Path], Program]
    queued: bool = False
    needs_ids: bool = False


def make_go(directory: Path) -> Program:
    """Built without a look at the network."""
    go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if go is None:
        raise Absent(f"go: {EXTRA}")
    binary = directory / "go-gateway"
    # what the environment says of proxies, flags and toolchains is not for this
    isolated = {"GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    settings = [f"{name}={value}" for name, value in isolated.items()]
    _made("go build", ["env", *settings, go, "build", "-o", str(binary), "."], SOURCES / "go")
    said = _made("go version", [go, "version"], directory).split()
    return Program(said[2], lambda _, file: [str(binary), str(file)])


def make_node(directory: Path) -> Program:
    """Installed from npm's registry, which has to be in reach."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Absent("node and npm: apt-get install nodejs npm")
    place = directory / "node"
    shutil.copytree(SOURCES / "node", place, ignore=shutil.ignore_patterns("node_modules"))
    _made("npm install", [npm, "install", "--no-audit", "--no-fund"], place)
    library = "require('@parse/node-apn/package.json').version"
    said = _made("node", [node, "-p", f"`@parse/node-apn ${{{library}}}, node ${{process.version}}`"], place)
    return Program(said, lambda _, file: [node, str(place / "send.js"), str(file)])


def make_python(module: str, package: str) -> Callable[[Path], Program]:
    """A script that needs this package."""

    def make(directory: Path) -> Program:
        try:
            said = version(package)
        except PackageNotFoundError:
            raise Absent(f"{package}: {EXTRA}") from None
        return Program(
            f"{package} {said}, python {sys.version.split()[0]}",
            lambda _, file: program(f"loadtest.peers.{module}", str(file)),
        )

    return make


def make_h2load(directory: Path) -> Program:
    """Its device tokens are of a list, in turn; its apns-id is always the same."""
    h2load = shutil.which("h2load")
    if h2load is None:
        raise Absent("h2load: apt-get install nghttp2-client")

    def command(task: Task, file: Path) -> Sequence[str]:
        addresses, body = file.with_suffix(".addresses"), file.with_suffix(".payload")
        pushes = [new_push() for _ in range(PATHS)]
        addresses.write_text("".join(f"{task.origin}/3/device/{push.device_token}\n" for push in pushes))
        body.write_text(task.payload)
        headers = {
            "authorization": f"bearer {task.bearer}",
            "apns-topic": task.topic,
            "apns-push-type": "alert",
            "apns-id": pushes[0].apns_id,
        }
        told = task.settings
        return [
            *(h2load, "-n", str(task.pushes), "-i", str(addresses), "-d", str(body)),
            *("-c", str(told["connections"]), "-m", str(told["streams"]), "-t", str(told["threads"])),
            *(word for name, value in headers.items() for word in ("-H", f"{name}: {value}")),
        ]

    return Program(_made("h2load", [h2load, "--version"], directory), command)


def _made(what: str, command: Sequence[str], place: Path) -> str:
    """What a command that makes a peer ready has printed. Raises Absent with its last words if it failed."""
    try:
        ended = subprocess.run(
            command, cwd=place, capture_output=True, text=True, timeout=MAKE_MOST_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{what}: {error}") from None
    if ended.returncode:
        raise Absent(f"{what} failed: {ended.stderr.strip()[-300:]}")
    return ended.stdout.strip()


# Tried one after the other on two CPUs of an AMD EPYC that did other work at times; pushes/s of the best of up to six
# rounds of each. Windows, goroutines and connections are per process.
PEERS: Final = (
    # goroutines 50, 100, 200, 400, 1000: 32,100, 34,300, 28,900, 34,100, 26,700;
    # at 100 with 1, 2, 4, 8 clients: 32,400, 34,300, 33,200, 30,000
    Peer("go-gateway", 100_000, 1, {"goroutines": 100, "clients": 2}, make_go, queued=True),
    # one process with a window of 100, 200, 500, 1000: 24,400, 18,800, 21,400, 19,300;
    # two with 50, 100, 200, 500, 1000: 22,700, 24,000, 24,700, 20,900, 21,800 (two clients: no better). In rounds where
    # the machine did other work too, two had the higher rate in most
    Peer("node-apn", 80_000, 2, {"window": 100, "clients": 1}, make_node),
    # two processes with a window of 50, 100, 200, 500, 1000: 7,500, 7,500, 7,700, 8,100, 7,500; one process: 5,300
    Peer(
        "aioapns",
        25_000,
        2,
        {"window": 500, "connections": 1},
        make_python("over_aioapns", "aioapns"),
        needs_ids=True,
    ),
    # two processes with a window of 10, 25, 50, 100, 200: 2,150, 2,220, 2,150, 1,760, 1,910; one process: 1,280;
    # 1 or 4 connections: no difference
    Peer("httpx", 6_000, 2, {"window": 25, "connections": 1}, make_python("over_httpx", "httpx")),
    # two processes with a window of 100, 250, 500, 1000: 15,800, 16,000, 15,900, 14,300; one process: 9,300;
    # 1, 2 or 4 connections: no difference up to 250
    Peer("h2", 50_000, 2, {"window": 250, "connections": 1}, make_python("over_h2", "h2")),
    # 1, 2, 4, 8, 16, 32, 64 connections of 1000 streams: 115,000, 122,000, 146,000, 211,000, 224,000, 205,000, 223,000;
    # 500 streams: 113,000 to 206,000; 100: 108,000 to 148,000; two threads instead of one: 137,000 to 184,000
    Peer("h2load", 700_000, 1, {"connections": 32, "streams": 1000, "threads": 1}, make_h2load),
)
