"""What an administrator is shown: the answers of the admin API, and what the commands print with ``--json``.

Everything but secrets. A new API key is the one secret that is ever shown, once, to whoever made it. Times are Unix ms,
0 for none.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from shards.api_key import ApiKey
from shards.conditions import Condition
from shards.credential import choose
from shards.environment import Environment
from shards.tallies import Tally
from shards.tenant import Limits, Tenant

LOST_KEY: Final = (
    "An API key is shown once, when it is made, and only a hash of it is kept. If it is lost, make another one, give "
    "it to whoever uses this one, and revoke this one by its prefix."
)


class LimitsView(msgspec.Struct, kw_only=True, frozen=True):
    """What a tenant may ask of the gateway; 0 where it has no limit of its own."""

    weight: int
    send_per_s: float
    in_flight_most: int
    admit_per_s: float
    admit_burst: int
    queue_most: int


class CredentialView(msgspec.Struct, kw_only=True, frozen=True):
    """A credential without its secret. ``topics`` is empty if it is for all applications.

    ``usable``: it is neither disabled nor over. ``applications`` are those whose pushes it signs now, by environment.
    """

    name: str
    kind: str
    team_id: str
    key_id: str
    environments: tuple[str, ...]
    topics: tuple[str, ...]
    created_ms: int
    not_after_ms: int
    disabled: bool
    usable: bool
    applications: dict[str, list[str]]


class KeyView(msgspec.Struct, kw_only=True, frozen=True):
    """An API key without its secret. ``over``: it is good for nothing any more."""

    tenant: str
    prefix: str
    scopes: tuple[str, ...]
    label: str
    created_ms: int
    not_after_ms: int
    over: bool


class KeyDetail(KeyView, kw_only=True, frozen=True):
    """An API key, and what to do if it is lost."""

    if_lost: str = LOST_KEY


class NewKeyView(msgspec.Struct, kw_only=True, frozen=True):
    """An API key that was just made. ``api_key`` is the secret, shown only now."""

    api_key: str
    key: KeyView

    def __repr__(self) -> str:
        return f"<NewKeyView {self.key.prefix}>"


class CredentialChange(msgspec.Struct, kw_only=True, frozen=True):
    """A credential that was just added or changed; ``notes`` say what follows from it that may not have been meant."""

    credential: CredentialView
    notes: list[str] = []


class ApplicationView(msgspec.Struct, kw_only=True, frozen=True):
    """An application, and by environment the credential that signs its pushes now, if there is one."""

    bundle_id: str
    credentials: dict[str, str | None]


class QueueView(msgspec.Struct, kw_only=True, frozen=True):
    """Pushes that wait: by lane those that are ready, and in ``retry`` those that are tried again later.

    ``retry_at_least``: there may be more of the latter than that. Pushes in workers' hands are not counted.
    """

    high: int
    low: int
    retry: int
    retry_at_least: bool


class ConditionView(msgspec.Struct, kw_only=True, frozen=True):
    """What holds pushes up. ``reason`` is Apple's word; ``credential`` and ``topic`` are "" when it is about all."""

    environment: str
    credential: str
    topic: str
    reason: str
    since_ms: int
    seen_ms: int
    refusals: int
    sentence: str


class TenantView(msgspec.Struct, kw_only=True, frozen=True):
    """A tenant as lists show it. Nothing is sent from ``paused`` lanes."""

    name: str
    created_ms: int
    disabled: bool
    paused: tuple[str, ...]
    in_doubt: str
    spread: int
    limits: LimitsView
    applications: tuple[str, ...]
    credentials: list[CredentialView]
    conditions: list[ConditionView]


class TenantDetail(TenantView, kw_only=True, frozen=True):
    """A tenant whole, without its secrets."""

    keys: list[KeyView]
    queue: QueueView


class NewTenantView(msgspec.Struct, kw_only=True, frozen=True):
    """A tenant that was just created. ``api_key`` is the secret of its first API key, shown only now."""

    api_key: str
    key: KeyView
    tenant: TenantView

    def __repr__(self) -> str:
        return f"<NewTenantView {self.tenant.name}>"


class TenantList(msgspec.Struct, kw_only=True, frozen=True):
    """Every tenant, by name."""

    tenants: list[TenantView]


class ApplicationList(msgspec.Struct, kw_only=True, frozen=True):
    """A tenant's applications."""

    applications: list[ApplicationView]


class CredentialList(msgspec.Struct, kw_only=True, frozen=True):
    """A tenant's credentials, the oldest first."""

    credentials: list[CredentialView]


class KeyList(msgspec.Struct, kw_only=True, frozen=True):
    """API keys, the oldest first."""

    keys: list[KeyView]


class Done(msgspec.Struct, kw_only=True, frozen=True):
    """What was asked for is done; ``notes`` say what follows from it that may not have been meant."""

    notes: list[str] = []


def view_of_limits(limits: Limits) -> LimitsView:
    return LimitsView(**{field: getattr(limits, field) for field in limits.__struct_fields__})


def views_of_credentials(tenant: Tenant, now_ms: int) -> list[CredentialView]:
    signs: dict[str, dict[str, list[str]]] = {
        each.name: {environment.value: [] for environment in Environment} for each in tenant.credentials
    }
    for environment in Environment:
        for topic in tenant.topics:
            chosen = choose(tenant.credentials, environment, topic, now_ms)
            if chosen is not None:
                signs[chosen.name][environment].append(topic)
    return [
        CredentialView(
            name=each.name,
            kind=each.kind,
            team_id=each.team_id,
            key_id=each.key_id,
            environments=each.environments,
            topics=each.topics,
            created_ms=each.created_ms,
            not_after_ms=each.not_after_ms,
            disabled=each.disabled,
            usable=any(each.serves(environment, now_ms) for environment in each.environments),
            applications=signs[each.name],
        )
        for each in tenant.credentials
    ]


def view_of_application(tenant: Tenant, bundle_id: str, now_ms: int) -> ApplicationView:
    chosen = {each.value: choose(tenant.credentials, each, bundle_id, now_ms) for each in Environment}
    return ApplicationView(
        bundle_id=bundle_id,
        credentials={where: None if found is None else found.name for where, found in chosen.items()},
    )


def view_of_key(key: ApiKey, now_ms: int) -> KeyView:
    return KeyView(**_of_key(key, now_ms))


def detail_of_key(key: ApiKey, now_ms: int) -> KeyDetail:
    return KeyDetail(**_of_key(key, now_ms))


def _of_key(key: ApiKey, now_ms: int) -> dict[str, Any]:
    return {field: getattr(key, field) for field in key.__struct_fields__} | {"over": key.over(now_ms)}


def view_of_conditions(tenant: Tenant, conditions: Iterable[Condition]) -> list[ConditionView]:
    """Those of the conditions that hold up this tenant."""
    names = {(each.team_id, each.known_as): each.name for each in tenant.credentials}
    return [
        ConditionView(
            environment=each.name.environment,
            credential=names.get((each.name.team_id, each.name.key_id), ""),
            topic=each.name.topic,
            reason=each.reason,
            since_ms=each.since_ms,
            seen_ms=each.seen_ms,
            refusals=each.refusals,
            sentence=each.sentence(),
        )
        for each in conditions
        if each.concerns(tenant)
    ]


def view_of_tenant(tenant: Tenant, conditions: Iterable[Condition], now_ms: int) -> TenantView:
    return TenantView(
        name=tenant.id,
        created_ms=tenant.created_ms,
        disabled=tenant.disabled,
        paused=tenant.paused,
        in_doubt=tenant.in_doubt,
        spread=tenant.spread,
        limits=view_of_limits(tenant.limits),
        applications=tenant.topics,
        credentials=views_of_credentials(tenant, now_ms),
        conditions=view_of_conditions(tenant, conditions),
    )


def detail_of_tenant(
    tenant: Tenant, conditions: Iterable[Condition], keys: Sequence[ApiKey], tally: Tally, now_ms: int
) -> TenantDetail:
    view = view_of_tenant(tenant, conditions, now_ms)
    return TenantDetail(
        **{field: getattr(view, field) for field in view.__struct_fields__},
        keys=[view_of_key(each, now_ms) for each in keys],
        queue=QueueView(high=tally.high, low=tally.low, retry=tally.retry, retry_at_least=tally.more),
    )
