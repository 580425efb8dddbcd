"""What an administrator may ask for: the bodies of the admin API, and what the commands are made into.

Door rule: by keyword only, and a field that is not known is refused. ``check`` finds what is wrong in itself; what
depends on what is stored is looked at when the action is done. Their ``repr`` shows no secret.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shards.administration.checks import (
    COUNT_MOST,
    SPREAD_MOST,
    WEIGHT_MOST,
    ActionRefused,
    check_bundle_id,
    check_bundle_ids,
    check_end,
    check_label,
    check_number,
    check_rate,
    check_tenant_name,
)
from shards.administration.credential_request import NewCredential, UnixMs
from shards.api_key import Scope
from shards.credential import Credential
from shards.lanes import Lane
from shards.tenant import Limits

InDoubt = Literal["resend", "bury"]
ScopeName = Literal["send", "read", "admin"]
LaneName = Literal["high", "low", "both"]


class LimitChanges(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Limits of a tenant to set; 0 for none of its own. What is left out stays as it is."""

    weight: Annotated[int, Meta(description="Its share when others wait too.")] | UnsetType = UNSET
    send_per_s: (
        Annotated[float, Meta(description="Pushes a second that are handed to Apple.")] | UnsetType
    ) = UNSET
    in_flight_most: (
        Annotated[int, Meta(description="Pushes in workers' hands, waiting or not yet answered.")] | UnsetType
    ) = UNSET
    admit_per_s: Annotated[float, Meta(description="Pushes a second that the API takes in.")] | UnsetType = (
        UNSET
    )
    admit_burst: (
        Annotated[int, Meta(description="How many of them at once; 0 for one second's worth.")] | UnsetType
    ) = UNSET
    queue_most: (
        Annotated[int, Meta(description="Pushes to an environment that may stand ready.")] | UnsetType
    ) = UNSET

    def check(self) -> None:
        """Raises ActionRefused."""
        for field, least, most in _BOUNDS:
            number = getattr(self, field)
            if number is not UNSET:
                check_number(field, number, least, most)
        for field in _RATES:
            per_s = getattr(self, field)
            if per_s is not UNSET:
                check_rate(field, per_s)

    def applied(self, limits: Limits) -> Limits:
        """Those limits with the changes. Raises ActionRefused for what can't be together."""
        given = {
            field: number for field in self.__struct_fields__ if (number := getattr(self, field)) is not UNSET
        }
        new = msgspec.structs.replace(limits, **given)
        if new.admit_burst and not new.admit_per_s:
            raise ActionRefused(
                "admit_burst", f"is {new.admit_burst}, and there is no admit_per_s: write that too, or 0"
            )
        return new


_BOUNDS: Final = (
    ("weight", 1, WEIGHT_MOST),
    ("in_flight_most", 0, COUNT_MOST),
    ("admit_burst", 0, COUNT_MOST),
    ("queue_most", 0, COUNT_MOST),
)
_RATES: Final = ("send_per_s", "admit_per_s")


class TenantChanges(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Settings of a tenant to change. What is left out stays as it is."""

    spread: Annotated[int, Meta(description="Over how many shards its devices are spread.")] | UnsetType = (
        UNSET
    )
    in_doubt: (
        Annotated[InDoubt, Meta(description="What becomes of a push that Apple may or may not have had.")]
        | UnsetType
    ) = UNSET
    limits: LimitChanges = LimitChanges()

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        if self.spread is not UNSET:
            check_number("spread", self.spread, 1, SPREAD_MOST)
        try:
            self.limits.check()
        except ActionRefused as refused:
            raise refused.within("limits") from None


class NewTenant(TenantChanges, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A tenant to create."""

    name: Annotated[str, Meta(description="Lower-case letters, digits and hyphens, at most 63.")]
    applications: Annotated[tuple[str, ...], Meta(description="Bundle ids that it may push to.")] = ()
    credential: NewCredential | None = None

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        self.read(now_ms)

    def read(self, now_ms: int) -> tuple[Credential, bytes] | None:
        """Its credential, not sealed yet, and the secret of that. Raises ActionRefused."""
        check_tenant_name("name", self.name)
        super().check(now_ms)
        check_bundle_ids("applications", self.applications)
        if self.credential is None:
            return None
        try:
            return self.credential.read(now_ms)
        except ActionRefused as refused:
            raise refused.within("credential") from None


class NewApplication(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An application to add to a tenant."""

    bundle_id: Annotated[str, Meta(description="Apple's id of the app, such as com.acme.app.")]

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        check_bundle_id("bundle_id", self.bundle_id)


class Expiry(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """When a credential ends."""

    not_after_ms: UnixMs

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        check_end("not_after_ms", self.not_after_ms, now_ms)


class WhichLane(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which lane to pause or to resume."""

    lane: LaneName = "both"

    def check(self, now_ms: int) -> None:
        """Nothing more can be wrong with it."""

    def lanes(self) -> set[str]:
        return {each.value for each in Lane} if self.lane == "both" else {self.lane}


class NewKey(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An API key to make."""

    scopes: Annotated[
        tuple[ScopeName, ...],
        Meta(
            description="send: to push; read: to look at the tenant; admin: to change its keys and credentials."
        ),
    ] = (Scope.SEND.value, Scope.READ.value)
    label: Annotated[str, Meta(description="A word to know it by.")] = ""
    not_after_ms: UnixMs = 0

    def check(self, now_ms: int) -> None:
        """Raises ActionRefused."""
        if not self.scopes:
            raise ActionRefused("scopes", f"is empty: write {' or '.join(Scope)}, or several")
        check_label(self.label)
        check_end("not_after_ms", self.not_after_ms, now_ms)
