"""How tenants, applications, credentials and keys are shown: as tables for people, or as JSON for machines."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from engine.cli.moments import clock
from shards.administration.views import (
    ApplicationView,
    CredentialView,
    KeyView,
    LimitsView,
    TenantDetail,
    TenantView,
)

_WIDTH_MOST: Final = 1_000_000
_NO_LIMITS: Final = LimitsView(
    weight=1, send_per_s=0, in_flight_most=0, admit_per_s=0, admit_burst=0, queue_most=0
)


def as_json(view: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(view), indent=2).decode())


def secret(text: str) -> None:
    """An API key, on a line of its own that is not wrapped, so that it can be copied from a narrow terminal."""
    Console().print(f"\n    {text}\n", soft_wrap=True, highlight=False, markup=False)


def notes(sentences: Iterable[str]) -> None:
    """What follows from what was done, and may not have been meant."""
    for sentence in sentences:
        Console().print(f"Note: {sentence}.", style="yellow", soft_wrap=True, highlight=False, markup=False)


def tenants(views: Iterable[TenantView]) -> None:
    """The tenants, and below them, in red, what holds them up."""
    table = _table("tenant", "state", "team", "key", "topics", "limits", "spread", "in doubt", "created")
    held_up = []
    for view in views:
        table.add_row(
            view.name,
            state(view),
            ", ".join(dict.fromkeys(each.team_id for each in view.credentials)),
            ", ".join(each.name for each in view.credentials),
            ", ".join(view.applications),
            limits(view.limits),
            str(view.spread),
            view.in_doubt,
            clock(view.created_ms),
        )
        held_up += [f"{view.name}: {each.sentence}" for each in view.conditions]
    whole(table)
    for line in held_up:
        _red(line)


def tenant(view: TenantDetail) -> None:
    """One tenant whole."""
    queue = view.queue
    retries = f"{queue.retry}{' or more' if queue.retry_at_least else ''}"
    rows = {
        "tenant": view.name,
        "state": state(view),
        "created": clock(view.created_ms),
        "topics": ", ".join(view.applications) or "none",
        "limits": limits(view.limits),
        "spread": f"{view.spread} shards",
        "in doubt": view.in_doubt,
        "queues": f"{queue.high} in high, {queue.low} in low, {retries} to be tried again later",
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    for line in view.conditions:
        _red(line.sentence)
    print()
    credentials(view.credentials)
    print()
    keys(view.keys, whose=False)


def state(view: TenantView) -> str:
    if view.disabled:
        return "disabled"
    return f"paused: {', '.join(view.paused)}" if view.paused else "open"


def limits(view: LimitsView) -> str:
    """Those that are not like most tenants'."""
    own = [
        f"{name} {getattr(view, name):g}"
        for name in view.__struct_fields__
        if getattr(view, name) != getattr(_NO_LIMITS, name)
    ]
    return ", ".join(own) or "none"


def applications(views: Iterable[ApplicationView]) -> None:
    table = _table("application", "signed in production by", "signed in sandbox by")
    for view in views:
        table.add_row(
            view.bundle_id, *(view.credentials[each] or "nobody" for each in ("production", "sandbox"))
        )
    whole(table)


def credentials(views: Iterable[CredentialView]) -> None:
    table = _table(
        "credential", "kind", "team", "key id", "environments", "topics", "signs for", "created", "ends"
    )
    for view in views:
        signs = sorted({topic for topics in view.applications.values() for topic in topics})
        idle = "nothing now" if view.usable else "nothing: disabled" if view.disabled else "nothing: over"
        table.add_row(
            view.name,
            view.kind,
            view.team_id,
            view.key_id,
            ", ".join(view.environments),
            ", ".join(view.topics) or "all",
            ", ".join(signs) or idle,
            clock(view.created_ms),
            clock(view.not_after_ms),
        )
    whole(table)


def keys(views: Iterable[KeyView], *, whose: bool = True) -> None:
    table = _table(*(("tenant",) if whose else ()), "API key", "scopes", "label", "created", "ends")
    for view in views:
        table.add_row(
            *((view.tenant,) if whose else ()),
            view.prefix,
            ", ".join(view.scopes),
            view.label,
            clock(view.created_ms),
            "over" if view.over else clock(view.not_after_ms),
        )
    whole(table)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold")


def whole(table: Table) -> None:
    """Print a table with a line for each row, however wide: names and ids are copied from it, and searched for."""
    console = Console()
    console.width = Measurement.get(console, console.options.update(width=_WIDTH_MOST), table).maximum
    console.print(table)


def _red(line: str) -> None:
    Console().print(Text(line), style="bold red", soft_wrap=True)
