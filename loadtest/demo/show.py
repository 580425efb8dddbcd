"""``clarion demo``: set up, push, judge, and show it."""

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.demo.stage import DemoFailed, Stage, set_up
from loadtest.demo.traffic import Sent, push_all
from loadtest.demo.verdict import Judgement, judge

TENANTS: Final = 3
# when the ledger has not grown for so long, nothing more is to come
SETTLED_AFTER_S: Final = 10.0


def run_demo(pushes: int, keep: bool, json_file: Path | None) -> int:
    """Returns 0 only if nothing was lost and nothing repeated."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="clarion-demo-") as directory:
        try:
            judgement = asyncio.run(_demo(Path(directory), console, pushes, keep))
        except DemoFailed as error:
            console.print(f"[red]The demo failed:[/red] {error}", highlight=False)
            return 1
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(judgement), indent=2) + "\n")
    return 0 if judgement.lost == 0 and judgement.repeated == 0 else 1


async def _demo(directory: Path, console: Console, pushes: int, keep: bool) -> Judgement:
    with console.status("Starting a redis-server, a look-alike of Apple, and the gateway …"):
        running = set_up(directory, TENANTS)
        stage = await running.__aenter__()
    try:
        with Progress(
            TextColumn("{task.description:24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress:
            to_api = progress.add_task("accepted by the API", total=pushes)
            sent = await push_all(stage, pushes, lambda size: progress.update(to_api, advance=size))
            at_apns = progress.add_task("answered by APNs", total=len(sent.at_s))
            await _until_answered(stage, sent, lambda known: progress.update(at_apns, completed=known))
        judgement = await _judge(stage, sent)
        _show(console, judgement, sent)
        if keep:
            await _keep(console, stage)
    finally:
        await running.__aexit__(None, None, None)
    return judgement


async def _until_answered(stage: Stage, sent: Sent, report: Any) -> None:
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
            if now >= len(sent.at_s) or moment - still_since > SETTLED_AFTER_S:
                # what is under way a second time would show within this moment
                await asyncio.sleep(0.5)
                return
            await asyncio.sleep(0.1)


async def _judge(stage: Stage, sent: Sent) -> Judgement:
    async with aiohttp.ClientSession(base_url=stage.control_url) as session, session.get(
        "/ledger/entries", timeout=aiohttp.ClientTimeout(total=120)
    ) as answer:
        lines = (await answer.text()).splitlines()
    return judge(sent.at_s, sent.began_s, map(json.loads, lines))


def _show(console: Console, judgement: Judgement, sent: Sent) -> None:
    table = Table(title="What the look-alike's ledger says", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for code, count in sorted(sent.refused.items()):
        table.add_row(f"refused by the API: {code}", f"{count:,}")
    table.add_row("accepted by the API", f"{judgement.accepted_by_api:,}")
    table.add_row("accepted by APNs", f"{judgement.accepted_by_apns:,}")
    for reason, count in sorted(judgement.refused.items()):
        table.add_row(f"refused by APNs: {reason}", f"{count:,}")
    table.add_row("lost", f"{judgement.lost:,}", style="green" if not judgement.lost else "red")
    table.add_row("repeated", f"{judgement.repeated:,}", style="green" if not judgement.repeated else "red")
    table.add_row("pushes/s, API to APNs", f"{judgement.pushes_per_s:,.0f}")
    table.add_row("from API to APNs, p50", f"{1000 * judgement.p50_s:,.1f} ms")
    table.add_row("from API to APNs, p99", f"{1000 * judgement.p99_s:,.1f} ms")
    console.print(table)
    console.print(
        "The look-alike checks every frame and every token in Python, and is what bounds this rate: "
        "scripts/bench drain measures the gateway against a fast sink.",
        style="dim",
    )


async def _keep(console: Console, stage: Stage) -> None:
    team = stage.teams[0]
    body = json.dumps(
        {"device_token": "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0", "topic": team.topic,
         "payload": {"aps": {"alert": "Hello"}}}
    )
    console.print("\nThe gateway keeps running until Ctrl-C. A push of your own:\n")
    console.print(
        f"curl -sS {stage.http_url}/v1/push -H 'Authorization: Bearer {stage.api_keys[team.tenant]}' "
        f"-H 'Content-Type: application/json' -d '{body}'",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print(f"\ncurl -sS {stage.control_url}/ledger    # what the look-alike has seen\n", highlight=False)
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def _as_json(judgement: Judgement) -> dict[str, Any]:
    return {
        "accepted_by_api": judgement.accepted_by_api,
        "accepted_by_apns": judgement.accepted_by_apns,
        "refused": sum(judgement.refused.values()),
        "refused_by_reason": judgement.refused,
        "lost": judgement.lost,
        "repeated": judgement.repeated,
        "pushes_per_s": round(judgement.pushes_per_s),
        "p50_ms": round(1000 * judgement.p50_s, 2),
        "p99_ms": round(1000 * judgement.p99_s, 2),
    }
