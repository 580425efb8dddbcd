"""Identities: the same key, sealed for each of several tenants, is read once."""

from engine.link.credentials import Identities
from loadtest.teams import MadeUpTeam, make_team, tenant_of
from shards.vault import Vault

VAULT = Vault(bytes(32))
TEAM = make_team(0)


def of(identities: Identities, team: MadeUpTeam) -> object:
    tenant = tenant_of(team, VAULT)
    return identities.of(tenant.id, tenant.credentials[0])


def test_copies_of_one_key_are_one_identity() -> None:
    identities = Identities(VAULT)
    first = of(identities, TEAM)
    assert of(identities, TEAM._replace(tenant="another")) is first


def test_the_same_key_under_another_name_is_another_identity() -> None:
    identities = Identities(VAULT)
    known = [of(identities, TEAM), of(identities, TEAM._replace(key_id="KEYS000001"))]
    known.append(of(identities, TEAM._replace(team_id="TEAM000001")))
    known.append(of(identities, make_team(0)))
    assert len(set(known)) == 4


def test_one_that_nobody_uses_any_more_is_forgotten() -> None:
    identities = Identities(VAULT)
    first = of(identities, TEAM)
    assert repr(identities) == "<Identities 1>"
    del first
    assert repr(identities) == "<Identities 0>"
