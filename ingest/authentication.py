"""Who asks, and may they? From the Authorization header to the tenant, or to the refusal that says what is wrong.

The directory remembers keys and tenants, so nothing is asked of Redis here but of whom it does not know yet. Whether a
key's time is over is asked each time: no change announces that.
"""

from typing import Final

from aiohttp import web

from ingest.fates import NOT_REACHED
from ingest.problems import Code
from shards.api_key import Scope
from shards.directory import Directory
from shards.errors import NotFound, StoreError
from shards.problem import Refusal
from shards.tenant import Tenant

API_KEY_LENGTH_MOST: Final = 256

KEY_MISSING: Final = Refusal(Code.KEY_MISSING, "send one header Authorization: Bearer <api key>")
KEY_UNKNOWN: Final = Refusal(
    Code.KEY_UNKNOWN, "the key is nobody's; check that it is whole, or make a new one for the tenant"
)
KEY_OVER: Final = Refusal(Code.KEY_OVER, "the time that this key was made for is over; make a new one")
TENANT_DISABLED: Final = Refusal(
    Code.TENANT_DISABLED, "pushes of this tenant are not taken in until whoever runs this gateway enables it"
)
SCOPES: Final = {
    scope: Refusal(
        Code.SCOPE_MISSING, f"this key has not the scope {scope.value}; use one that has, or make one with it"
    )
    for scope in Scope
}


async def authenticate(
    request: web.BaseRequest, directory: Directory, scope: Scope, now_ms: int
) -> Tenant | Refusal:
    """The tenant whose API key the request shows, if the key is good for ``scope`` at ``now_ms`` (Unix time).

    A tenant that is disabled may look, and neither push nor change anything.
    """
    shown = request.headers.getall("Authorization", ())
    if len(shown) != 1:
        return KEY_MISSING
    scheme, _, secret = shown[0].partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        return KEY_MISSING
    if len(secret) > API_KEY_LENGTH_MOST:
        return KEY_UNKNOWN
    try:
        found = await directory.by_api_key(secret)
    except NotFound:
        # the key outlived its tenant
        return KEY_UNKNOWN
    except StoreError:
        return NOT_REACHED
    if found is None:
        return KEY_UNKNOWN
    tenant, key = found
    if not key.allows(scope, now_ms):
        return KEY_OVER if key.over(now_ms) else SCOPES[scope]
    if tenant.disabled and scope is not Scope.READ:
        return TENANT_DISABLED
    return tenant
