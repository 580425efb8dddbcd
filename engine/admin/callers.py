"""Who asks, and may they? From the Authorization header to the caller, or to the refusal that says what is wrong.

The admin token opens everything. A tenant's API key with the scope admin opens what is that tenant's own, but not what
whoever runs the gateway decides: that there is such a tenant, and how much it may ask for.
"""

from typing import Final, NamedTuple

from aiohttp import web

from engine.admin.problems import Code
from engine.admin.token import LENGTH_MOST, AdminToken
from shards.api_key import Scope, hash_api_key
from shards.problem import Refusal
from shards.tenants import Tenants

MISSING: Final = Refusal(Code.TOKEN_MISSING, "send one header Authorization: Bearer <admin token>")
UNKNOWN: Final = Refusal(
    Code.TOKEN_UNKNOWN,
    "the token is nobody's; the admin token stands in admin.token in the gateway's data directory",
)
OVER: Final = Refusal(Code.KEY_OVER, "the time that this API key was made for is over; make a new one")
WITHOUT_SCOPE: Final = Refusal(
    Code.SCOPE_MISSING, "this API key has not the scope admin; use one that has, or make one with it"
)
FOREIGN: Final = Refusal(Code.TENANT_FOREIGN, "an API key opens only what is its own tenant's")
OPERATOR_ONLY: Final = Refusal(
    Code.OPERATOR_ONLY, "an API key can't do this; it is for whoever runs the gateway, with the admin token"
)
DISABLED: Final = Refusal(
    Code.TENANT_DISABLED, "nothing of it can be changed until whoever runs this gateway enables it"
)


class Caller(NamedTuple):
    """Whoever asks. ``name`` is for the log: the token's name, or the API key's prefix.

    ``tenant``: whose API key it is; "" for whoever runs the gateway. ``disabled``: whether that tenant is.
    """

    name: str
    tenant: str = ""
    disabled: bool = False

    def may(self, tenant: str, *, operator: bool, changes: bool) -> Refusal | None:
        """Why not, or None. ``operator``: it is for whoever runs the gateway; ``changes``: it is more than a look."""
        if not self.tenant:
            return None
        if operator:
            return OPERATOR_ONLY
        if tenant != self.tenant:
            return FOREIGN
        return DISABLED if self.disabled and changes else None


async def caller_of(
    request: web.Request, token: AdminToken, tenants: Tenants, now_ms: int
) -> Caller | Refusal:
    """Raises the store's errors, and NotFound for an API key that has outlived its tenant."""
    shown = request.headers.getall("Authorization", ())
    if len(shown) != 1:
        return MISSING
    scheme, _, secret = shown[0].partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        return MISSING
    if len(secret) > LENGTH_MOST:
        return UNKNOWN
    if token.is_shown_as(secret):
        return Caller(token.name)
    key = await tenants.api_key(hash_api_key(secret))
    if key is None:
        return UNKNOWN
    if not key.allows(Scope.ADMIN, now_ms):
        return OVER if key.over(now_ms) else WITHOUT_SCOPE
    return Caller(key.prefix, key.tenant, (await tenants.get(key.tenant)).disabled)
