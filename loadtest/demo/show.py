"""``clarion demo``: set up, push, judge, and show it."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.demo.stage import DemoFailed, Stage, set_up
from loadtest.demo.traffic import Sent, burst, steady, tell_gone_devices
from loadtest.demo.verdict import Report, judge, merged

TENANTS: Final = 3
# the part of the pushes that is sent at a steady rate, and that rate: far below what the look-alike can judge
STEADY_SHARE: Final = 0.1
STEADY_PER_S: Final = 400.0
# when the ledger has not grown for so long, nothing more is to come
SETTLED_AFTER_S: Final = 10.0


def run_demo(pushes: int, keep: bool, json_file: Path | None) -> int:
    """Returns 0 only if nothing was lost and nothing repeated."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="clarion-demo-") as directory:
        try:
            report = asyncio.run(_demo(Path(directory), console, pushes, keep))
        except DemoFailed as error:
            console.print(f"[red]The demo failed:[/red] {error}", highlight=False)
            return 1
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 0 if report.all.lost == 0 and report.all.repeated == 0 else 1


async def _demo(directory: Path, console: Console, pushes: int, keep: bool) -> Report:
    async with contextlib.AsyncExitStack() as running:
        with console.status("Starting a redis-server, a look-alike of Apple, and the gateway …"):
            stage = await running.enter_async_context(set_up(directory, TENANTS))
            await tell_gone_devices(stage, pushes)
        at_rate = int(pushes * STEADY_SHARE)
        in_burst = pushes - at_rate
        with Progress(
            TextColumn("{task.description:36}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress:
            to_api = progress.add_task("burst: answered by the API", total=in_burst)
            first = await burst(stage, in_burst, lambda size: progress.update(to_api, advance=size))
            at_apns = progress.add_task("burst: answered by APNs", total=len(first.at_s))
            await _until_answered(
                stage, len(first.at_s), lambda known: progress.update(at_apns, completed=known)
            )
            rate = progress.add_task(f"steady: {STEADY_PER_S:.0f} single pushes a second", total=at_rate)
            second = await steady(
                stage, in_burst, at_rate, STEADY_PER_S, lambda size: progress.update(rate, advance=size)
            )
            await _until_answered(stage, len(first.at_s) + len(second.at_s), lambda known: None)
        report = await _judge(stage, first, second)
        _show(console, report)
        if keep:
            await _keep(console, stage)
    return report


async def _until_answered(stage: Stage, pushes: int, report: Callable[[int], None]) -> None:
    known, still_since = -1, asyncio.get_running_loop().time()
    async with aiohttp.ClientSession(base_url=stage.control_url) as session:
        while True:
            async with session.get("/ledger") as answer:
                summary = await answer.json()
            now = summary["apns_ids"]
            report(now)
            moment = asyncio.get_running_loop().time()
            if now != known:
                known, still_since = now, moment
            if now >= pushes or moment - still_since > SETTLED_AFTER_S:
                # what is under way a second time would show within this moment
                await asyncio.sleep(0.5)
                return
            await asyncio.sleep(0.1)


async def _judge(stage: Stage, first: Sent, second: Sent) -> Report:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(base_url=stage.control_url, timeout=timeout) as session:
        async with session.get("/ledger/entries") as answer:
            entries = [json.loads(line) for line in (await answer.text()).splitlines()]
    return Report(
        all=judge(first.at_s | second.at_s, first.began_s, entries),
        burst=judge(first.at_s, first.began_s, entries),
        steady=judge(second.at_s, second.began_s, entries),
        refused_by_api=merged(first.refused, second.refused),
    )


def _show(console: Console, report: Report) -> None:
    table = Table(title="What the look-alike's ledger says", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for code, count in sorted(report.refused_by_api.items()):
        table.add_row(f"refused by the API: {code}", f"{count:,}")
    table.add_row("accepted by the API", f"{report.all.accepted_by_api:,}")
    table.add_row("accepted by APNs", f"{report.all.accepted_by_apns:,}")
    for reason, count in sorted(report.all.refused.items()):
        table.add_row(f"refused by APNs: {reason}", f"{count:,}")
    for word, count in (("lost", report.all.lost), ("repeated", report.all.repeated)):
        table.add_row(word, f"{count:,}", style="red" if count else "green")
    table.add_row("burst, API to APNs", f"{report.burst.pushes_per_s:,.0f} pushes/s")
    table.add_row("steady, API to APNs, p50", f"{1000 * report.steady.p50_s:,.1f} ms")
    table.add_row("steady, API to APNs, p99", f"{1000 * report.steady.p99_s:,.1f} ms")
    console.print(table)
    console.print(
        "The look-alike checks every frame and every token in Python, and is what bounds the burst: "
        "scripts/bench drain measures the gateway against a fast sink.",
        style="dim",
    )


async def _keep(console: Console, stage: Stage) -> None:
    team = stage.teams[0]
    body = json.dumps(
        {
            "device_token": "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0",
            "topic": team.topic,
            "payload": {"aps": {"alert": "Hello"}},
        }
    )
    console.print("\nThe gateway keeps running until Ctrl-C. A push of your own:\n")
    console.print(
        f"curl -sS {stage.http_url}/v1/push -H 'Authorization: Bearer {stage.api_keys[team.tenant]}' "
        f"-H 'Content-Type: application/json' -d '{body}'",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print(
        f"\ncurl -sS {stage.control_url}/ledger    # what the look-alike has seen\n", highlight=False
    )
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
