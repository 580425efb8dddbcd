"""``clarion tune``: is this host set to what pushes need, and how large must everything be?"""

import asyncio
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from rich.console import Console

from engine.cli.errors import CommandError
from runtime.options import OptionError
from shards.errors import StoreRefused
from shards.redis import check_url, connect, store_errors
from tuning.files import Format, text
from tuning.host import found
from tuning.profile import Kind, load
from tuning.size import Need, per_link, size
from tuning.verdict import State, how, judge

app: Final = App(
    name="tune",
    help="The host: what it should be set to, whether it is, and how large everything must be for a rate.",
)
ProfileName = Literal["small", "large", "container"]

SYSCTL_FILE: Final = Path("/etc/sysctl.d/90-clarion.conf")
LIMITS_FILE: Final = Path("/etc/security/limits.d/90-clarion.conf")
_STYLES: Final = {State.GOOD: "bold green", State.CHANGE: "bold red", State.UNKNOWN: "bold"}
_TIME: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s)")


@app.command
def check(*, profile: ProfileName = "small", redis_url: str | None = None) -> int:
    """Compare this host with a profile, and say what to do. Exit code 0 only if nothing is to be changed.

    For example:

        clarion tune check
        clarion tune check --profile large --redis-url redis://10.0.0.5:6379/0

    Parameters
    ----------
    profile
        What the host is: small (everything on 2 to 4 CPUs), large, or container.
    redis_url
        The Redis whose settings are to be compared, too.
    """
    wanted = load(profile)
    asked = _asker(redis_url, [each.name for each in wanted.of(Kind.REDIS)])
    findings = judge(wanted, found(wanted.setting, asked))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for each in findings:
        console.print(f"{each.state.value:<8}", style=_STYLES[each.state], end="")
        value = f" is {each.found or '(empty)'}" if each.state is not State.UNKNOWN else ""
        console.print(f"{each.setting.name}{value}" + (f"; {each.text}" if each.text else ""))
    if os.geteuid() != 0 and any(each.state is State.CHANGE for each in findings):
        console.print("Changing these needs root; this process has no such rights.")
    return int(any(each.state is State.CHANGE for each in findings))


@app.command
def show(
    *, profile: ProfileName = "small", form: Annotated[Format, Parameter(name="--format")] = Format.SYSCTL
) -> None:
    """Print a profile as a file, with the reason for each line and what it was measured to bring.

    For example:

        clarion tune show --format sysctl > 90-clarion.conf
        clarion tune show --profile large --format systemd

    Parameters
    ----------
    profile
        What the host is.
    form
        sysctl (for /etc/sysctl.d), limits (for /etc/security/limits.d), systemd (a drop-in for the service) or redis
        (lines for redis.conf).
    """
    print(text(load(profile), form), end="")


@app.command
def apply(
    *, profile: ProfileName = "small", yes: Annotated[bool, Parameter(name="--yes", negative="")] = False
) -> None:
    """Write a profile's sysctl and limits files, keep what they replace, and load the sysctls. Only shows what it would
    do, unless --yes is given, which needs root.

    For example:

        clarion tune apply --profile large
        sudo clarion tune apply --profile large --yes

    Parameters
    ----------
    profile
        What the host is.
    yes
        Do it.
    """
    wanted = load(profile)
    findings = judge(wanted, found(wanted.setting))
    held = {
        each.setting.name: each.found
        for each in findings
        if each.state is State.GOOD and each.setting.kind is Kind.SYSCTL
    }
    files = {SYSCTL_FILE: text(wanted, Format.SYSCTL, held), LIMITS_FILE: text(wanted, Format.LIMITS)}
    if not yes:
        for path, content in files.items():
            replaced = "replaces it, and keeps it beside" if path.exists() else "is new"
            print(f"# {path} ({replaced})\n{content}")
        for setting in wanted.of(Kind.FILE):
            print(f"# now: {how(setting)}")
        print("# Nothing was changed. As root, with --yes, it is done.")
        return
    if os.geteuid() != 0:
        raise CommandError("this needs root: run it with sudo, or without --yes to see what it would do")
    for path, content in files.items():
        _write(path, content)
    done = subprocess.run(["sysctl", "-p", str(SYSCTL_FILE)], capture_output=True, text=True, check=False)
    print(done.stdout, end="")
    if done.returncode:
        raise CommandError(f"not every sysctl could be set: {' '.join(done.stderr.split())}")
    for setting in wanted.of(Kind.FILE):
        print(f"Not done, since it would not outlive the next boot: {how(setting)}")


@app.command(name="size")
def show_size(
    *,
    rate: float,
    rtt: str = "100ms",
    payload: int = 300,
    credentials: int = 1,
    backlog: int = 1_000_000,
    callers: int = 256,
    singles: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """How many workers, links, descriptors and how much memory a rate needs, by what was measured.

    For example:

        clarion tune size --rate 50000 --rtt 80ms --payload 300

    Parameters
    ----------
    rate
        Pushes a second.
    rtt
        There and back to APNs: 80ms, 0.08s.
    payload
        Bytes of a payload.
    credentials
        Keys and certificates that push at that time, together.
    backlog
        Pushes that are to fit into Redis.
    callers
        Connections to the API.
    singles
        Callers send one push a request, instead of batches.
    """
    need = Need(rate, _seconds(rtt), payload, credentials, backlog, callers, singles)
    found_size = size(need)
    lines = (
        ("--workers", found_size.workers, "each busy for two thirds"),
        ("--ingest-processes", found_size.ingest_processes, "singles" if singles else "batches"),
        ("--links-max", found_size.links, _of_one_link(per_link(need), rtt)),
        ("descriptors of a worker", found_size.worker_descriptors, "links, and a few more"),
        ("descriptors of an ingest process", found_size.ingest_descriptors, "callers, and a few more"),
        (
            "memory of Redis, MiB",
            found_size.redis_mib,
            f"for {backlog:,} pushes; up to twice that in a rewrite",
        ),
        ("growth of its file, MB/s", round(found_size.file_bytes_per_s / 1e6), "until it is rewritten"),
        (
            "CPUs that are busy",
            f"{found_size.cpus:.1f}",
            f"of them Redis {found_size.redis_busy:.2f}, which has one",
        ),
    )
    for name, value, note in lines:
        print(f"{name:<34}{value:>10}   {note}")
    if found_size.redis_busy > 1:
        print("One Redis has no more than one CPU for commands: divide the tenants over several gateways.")


def _of_one_link(per_s: float, rtt: str) -> str:
    return (
        f"one link takes {per_s:,.0f} pushes/s over {rtt}" if per_s < math.inf else "nothing bounds one link"
    )


def _seconds(word: str) -> float:
    read = _TIME.fullmatch(word)
    if read is None:
        raise OptionError("rtt", f"is {word!r}; write it as 80ms or 0.08s")
    return float(read["number"]) * (0.001 if read["unit"] == "ms" else 1.0)


def _asker(url: str | None, names: Iterable[str]) -> Callable[[str], str | None] | None:
    """What says how a Redis is set. Raises StoreError when it does not answer, OptionError for a bad URL."""
    if url is None:
        return None
    check_url(url)

    async def ask() -> dict[str, str]:
        client: Any = connect(url)
        try:
            with store_errors(in_doubt=False):
                await client.ping()
            answers = {}
            for name in names:
                # hosted ones refuse CONFIG
                with suppress(StoreRefused), store_errors(in_doubt=False):
                    answers.update(await client.config_get(name))
            return {_text(name): _text(value) for name, value in answers.items() if value is not None}
        finally:
            await client.aclose()

    return asyncio.run(ask()).get


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else word


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        kept = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
        shutil.copy2(path, kept)
        print(f"{path}: the old one is kept as {kept.name}")
    path.write_text(content)
    print(f"{path}: written")
