"""What is said when something is not done: the table behind the problem documents of the admin API.

A detail never quotes what may be a secret; what of a request comes back is decided in ``shards.quoting``.
"""

from enum import StrEnum
from typing import Final

from shards.administration.checks import ActionRefused
from shards.errors import AlreadyExists, NotFound, StoreError, StoreRefused, StoreUnavailable, VaultError
from shards.problem import Kind, Problem, Refusal, document

RETRY_AFTER_S: Final = 1


class Code(StrEnum):
    """The stable names of everything that can go wrong, as clients may test for them."""

    BAD_REQUEST = "bad-request"
    MALFORMED_JSON = "malformed-json"
    BAD_QUERY = "bad-query"
    TOKEN_MISSING = "token-missing"
    TOKEN_UNKNOWN = "token-unknown"
    KEY_OVER = "key-over"
    SCOPE_MISSING = "scope-missing"
    TENANT_FOREIGN = "tenant-foreign"
    OPERATOR_ONLY = "operator-only"
    TENANT_DISABLED = "tenant-disabled"
    NOT_FOUND = "not-found"
    NO_ADDRESS = "no-address"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    BODY_TOO_SLOW = "body-too-slow"
    ALREADY_EXISTS = "already-exists"
    CONFLICT = "conflict"
    BODY_TOO_LARGE = "body-too-large"
    CONTENT_TYPE = "unsupported-content-type"
    CONTENT_ENCODING = "unsupported-content-encoding"
    BODY_UNEXPECTED = "body-unexpected"
    FIELD_MISSING = "field-missing"
    FIELD_UNKNOWN = "field-unknown"
    WRONG_TYPE = "wrong-type"
    WRONG_VALUE = "wrong-value"
    INTERNAL = "internal-error"
    MASTER_KEY = "master-key"
    STORE_UNAVAILABLE = "store-unavailable"
    STORE_IN_DOUBT = "store-in-doubt"
    STORE_REFUSED = "store-refused"


KINDS: Final[dict[StrEnum, Kind]] = {
    Code.BAD_REQUEST: Kind(400, "The request is not valid HTTP"),
    Code.MALFORMED_JSON: Kind(400, "The body is not valid JSON"),
    Code.BAD_QUERY: Kind(400, "The query is not valid"),
    Code.TOKEN_MISSING: Kind(401, "There is no token"),
    Code.TOKEN_UNKNOWN: Kind(401, "The token is not known"),
    Code.KEY_OVER: Kind(401, "The API key's time is over"),
    Code.SCOPE_MISSING: Kind(403, "The API key is not for this"),
    Code.TENANT_FOREIGN: Kind(403, "The tenant is another one"),
    Code.OPERATOR_ONLY: Kind(403, "This needs the admin token"),
    Code.TENANT_DISABLED: Kind(403, "The tenant is disabled"),
    Code.NOT_FOUND: Kind(404, "There is no such thing"),
    Code.NO_ADDRESS: Kind(404, "There is nothing at this address"),
    Code.METHOD_NOT_ALLOWED: Kind(405, "The method is not allowed here"),
    Code.BODY_TOO_SLOW: Kind(408, "The body did not arrive in time", retryable=True),
    Code.ALREADY_EXISTS: Kind(409, "It exists already"),
    Code.CONFLICT: Kind(409, "Something stands in the way"),
    Code.BODY_TOO_LARGE: Kind(413, "The body is too large"),
    Code.CONTENT_TYPE: Kind(415, "The content type is not supported"),
    Code.CONTENT_ENCODING: Kind(415, "The content encoding is not supported"),
    Code.BODY_UNEXPECTED: Kind(422, "This takes no body"),
    Code.FIELD_MISSING: Kind(422, "A field is missing"),
    Code.FIELD_UNKNOWN: Kind(422, "A field is not known"),
    Code.WRONG_TYPE: Kind(422, "A value has the wrong type"),
    Code.WRONG_VALUE: Kind(422, "A value can't be"),
    Code.INTERNAL: Kind(500, "Something went wrong in Clarion"),
    Code.MASTER_KEY: Kind(500, "The master key is not the right one"),
    Code.STORE_UNAVAILABLE: Kind(503, "The store can't be reached", retryable=True),
    Code.STORE_IN_DOUBT: Kind(503, "The store did not answer"),
    Code.STORE_REFUSED: Kind(503, "The store takes no changes", retryable=True),
}


def problem(refusal: Refusal, instance: str) -> Problem:
    """The document that says what ``refusal`` means."""
    return document(Problem, KINDS[refusal.code], refusal, instance)


def refusal_of(error: ActionRefused | StoreError, *, changes: bool) -> Refusal:
    """What an action raised, as a refusal. ``changes``: it may have been done although nobody knows."""
    match error:
        case ActionRefused(field="", reason=reason):
            return Refusal(Code.CONFLICT, reason)
        case ActionRefused(field=field):
            return Refusal(Code.WRONG_VALUE, str(error), f"/{field}")
        case NotFound():
            # without the command that shows what there is: the address above this one does
            return Refusal(Code.NOT_FOUND, error.what)
        case AlreadyExists():
            return Refusal(Code.ALREADY_EXISTS, str(error))
        case VaultError():
            return Refusal(Code.MASTER_KEY, str(error))
        case StoreRefused():
            return Refusal(Code.STORE_REFUSED, str(error))
        case StoreUnavailable(in_doubt=True) if changes:
            return Refusal(Code.STORE_IN_DOUBT, f"{error}; look whether it was done before you try again")
        case _:
            return Refusal(Code.STORE_UNAVAILABLE, str(error))


def problems_page() -> str:
    """Every code, one a line: what the addresses in ``type`` lead to."""
    rows = [f"{code.value:<26}{kind.status}  {kind.title}" for code, kind in KINDS.items()]
    return "\n".join(["Problems of Clarion's admin API: code, status, meaning", "", *rows, ""])
