"""``clarion tenant``: the companies on this gateway."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from engine.apns.bearer import KeyFileError, load_p8
from engine.cli.errors import CommandError
from engine.cli.options import StoreParams
from engine.cli.store import redis_url, with_tenants
from shards.conditions import Condition
from shards.tenant import Tenant, credential_context
from shards.tenants import Tenants, new_api_key
from shards.vault import Vault

app: Final = App(name="tenant", help="Create and list tenants: the companies that push through this gateway.")

NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
APPLE_ID: Final = re.compile(r"[A-Z0-9]{10}")
TOPIC: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,198}[A-Za-z0-9])?")
SPREAD_MOST: Final = 64

_NO_STORE: Final = StoreParams()


@app.command
def create(
    name: str,
    *,
    team_id: str,
    key_id: str,
    key_file: Path,
    topic: Annotated[list[str], Parameter(negative="")],
    spread: int = 4,
    in_doubt: Literal["resend", "bury"] = "resend",
    store: StoreParams = _NO_STORE,
) -> None:
    """Create a tenant, and show its API key: once, since only a hash of it is kept.

    For example:

        clarion tenant create acme --team-id A1B2C3D4E5 --key-id F6G7H8I9J0 \\
            --key-file AuthKey_F6G7H8I9J0.p8 --topic com.acme.app
        clarion tenant create codes --team-id A1B2C3D4E5 --key-id F6G7H8I9J0 \\
            --key-file AuthKey_F6G7H8I9J0.p8 --topic com.acme.login --in-doubt bury

    Parameters
    ----------
    name
        What the tenant is called here: lower-case letters, digits and hyphens.
    team_id
        Apple's id of the team, 10 characters (developer account, membership details).
    key_id
        Apple's id of the key, 10 characters (the AuthKey_….p8 file's name holds it).
    key_file
        The .p8 key that signs the team's pushes. It is stored encrypted.
    topic
        A bundle id that the tenant may push to; may be given several times.
    spread
        Over how many shards its devices are spread; more for a tenant that alone must use many CPUs.
    in_doubt
        What to do when nobody can know whether APNs had a push: resend it, and it may arrive twice; or bury it among
        the dead letters, and it may not arrive, which suits one-time codes.
    """
    _require(NAME, name, "NAME", "lower-case letters, digits and hyphens, at most 63, such as acme")
    _require(
        APPLE_ID, team_id, "--team-id", "the 10 capital letters and digits that Apple shows for the team"
    )
    _require(APPLE_ID, key_id, "--key-id", "the 10 capital letters and digits in the name AuthKey_….p8")
    for each in topic:
        _require(TOPIC, each, "--topic", "a bundle id such as com.acme.app")
    if not 1 <= spread <= SPREAD_MOST:
        raise CommandError(f"--spread is {spread}; write a number from 1 to {SPREAD_MOST}")
    pem = _read_key(key_file)
    vault = Vault(store.master_key(create=True))
    secret, prefix = new_api_key()
    tenant = Tenant(
        id=name,
        team_id=team_id,
        key_id=key_id,
        sealed_key=vault.seal(pem, credential_context(name, key_id)),
        topics=tuple(dict.fromkeys(topic)),
        spread=spread,
        created_ms=int(time.time() * 1000),
        in_doubt=in_doubt,
    )
    with redis_url(store) as url:
        with_tenants(url, lambda tenants: tenants.create(tenant, secret, prefix))
    console = Console()
    console.print(f"Tenant [bold]{name}[/bold] is created. Its API key, shown only now:\n")
    # not wrapped, so that it can be copied from a narrow terminal
    console.print(f"    {secret}\n", soft_wrap=True, highlight=False)


@app.command(name="list")
def show(*, store: StoreParams = _NO_STORE) -> None:
    """List the tenants, and below them what keeps their credentials from being used.

    For example:

        clarion tenant list
    """
    with redis_url(store) as url:
        tenants, conditions = with_tenants(url, _tenants_and_conditions)
    if not tenants:
        print("There is no tenant yet; 'clarion tenant create --help' shows how to make one.")
        return
    table = Table(
        "tenant", "team", "key", "topics", "spread", "in doubt", "created", box=None, header_style="bold"
    )
    for tenant in tenants:
        table.add_row(
            tenant.id,
            tenant.team_id,
            tenant.key_id,
            ", ".join(tenant.topics),
            str(tenant.spread),
            tenant.in_doubt,
            _clock(tenant.created_ms),
        )
    console = Console()
    console.print(table)
    for line in condition_lines(tenants, conditions):
        console.print(line, style="bold red", soft_wrap=True, highlight=False, markup=False)


async def _tenants_and_conditions(store: Tenants) -> tuple[list[Tenant], list[Condition]]:
    return await store.all(), await store.conditions.all()


def condition_lines(tenants: Iterable[Tenant], conditions: Iterable[Condition]) -> Iterable[str]:
    """A line for each tenant that a condition holds up."""
    known = list(tenants)
    for (environment, team_id, key_id, topic), reason, since_ms, seen_ms, refusals in conditions:
        what = f"topic {topic} of key {key_id}" if topic else f"key {key_id}"
        for tenant in known:
            if (tenant.team_id, tenant.key_id) == (team_id, key_id) and (
                not topic or not tenant.topics or topic in tenant.topics
            ):
                yield (
                    f"{tenant.id}: paused since {_clock(since_ms)}: APNs says {reason} to {what} in {environment} "
                    f"({refusals} times, last {_clock(seen_ms)}); one push tries again now and then"
                )


def _clock(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms / 1000))


def _require(pattern: re.Pattern[str], value: str, option: str, shape: str) -> None:
    if not pattern.fullmatch(value):
        raise CommandError(f"{option} {value!r} can't be: write {shape}")


def _read_key(path: Path) -> bytes:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CommandError(f"--key-file {path} can't be read: {error.strerror}") from error
    try:
        load_p8(pem)
    except KeyFileError as error:
        raise CommandError(f"--key-file {path} can't sign pushes: {error}") from error
    return pem
