"""``clarion tenant check``: does APNs take a tenant's credentials?"""

from typing import Annotated, Final, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console

from engine.cli.options import ApnsParams, StoreParams
from engine.cli.store import redis_url, with_tenants
from engine.link.check import check_of
from engine.policy.diagnosis import Finding, State
from shards.tenants import Tenants
from shards.vault import Vault

_STYLES: Final = {State.GOOD: "bold green", State.BAD: "bold red", State.SKIPPED: "bold"}


_NO_STORE: Final = StoreParams()
_NO_APNS: Final = ApnsParams()


def check(
    name: str,
    /,
    *,
    environment: Literal["production", "sandbox"] | None = None,
    topic: str | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    store: StoreParams = _NO_STORE,
    apns: ApnsParams = _NO_APNS,
) -> int:
    """Ask APNs whether it takes a tenant's credentials, with one push for each to a device that does not exist.

    The gateway need not run, and nothing of it is changed. Exit code 0 only if all credentials are good.

    For example:

        clarion tenant check acme
        clarion tenant check acme --environment sandbox --topic com.acme.app.voip

    Parameters
    ----------
    name
        The tenant.
    environment
        Only in this one.
    topic
        Only the credential that would be taken for this topic.
    json
        As JSON, for machines.
    """
    apns.validate()
    vault = Vault(store.master_key(create=False))
    check = check_of(vault, apns.apns_production_url, apns.apns_sandbox_url, apns.apns_ca_file)

    async def found(tenants: Tenants) -> list[Finding]:
        return await check.tenant(await tenants.get(name), environment, topic)

    with redis_url(store) as url:
        findings = with_tenants(url, found)
    if json:
        print(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        _show(findings)
    return int(any(each.state is State.BAD for each in findings))


def _show(findings: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for each in findings:
        where = " ".join(
            word
            for word in (
                each.credential,
                each.environment and f"in {each.environment}",
                each.topic and f"for {each.topic}",
            )
            if word
        )
        console.print(f"{each.state.value:<8}", style=_STYLES[each.state], end="")
        console.print(f"{where}: {each.text}" if where else each.text)
