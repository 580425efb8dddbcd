"""What is said when a push is not accepted: the table behind the problem documents of the push API.

The documentation page is rendered from it. Two types have the names that draft-ietf-httpapi-ratelimit-headers gives
them, for clients that know those.

No text here or in a refusal ever quotes what the tenant sent: a device token or an API key in the wrong field
would come back in an error, and from there into logs. A detail names what is allowed instead.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from shards.problem import Kind, Refusal, document
from shards.problem import Problem as Base


class Code(StrEnum):
    """The stable names of everything that can go wrong, as clients may test for them."""

    BAD_REQUEST = "bad-request"
    EMPTY_BODY = "empty-body"
    MALFORMED_JSON = "malformed-json"
    BAD_COMPRESSION = "bad-compression"
    KEY_MISSING = "key-missing"
    KEY_UNKNOWN = "key-unknown"
    KEY_OVER = "key-over"
    SCOPE_MISSING = "scope-missing"
    TENANT_DISABLED = "tenant-disabled"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    BODY_TOO_SLOW = "body-too-slow"
    BODY_TOO_LARGE = "body-too-large"
    BATCH_TOO_LARGE = "batch-too-large"
    PAYLOAD_TOO_LARGE = "payload-too-large"
    CONTENT_TYPE = "unsupported-content-type"
    CONTENT_ENCODING = "unsupported-content-encoding"
    BATCH_EMPTY = "batch-empty"
    FIELD_MISSING = "field-missing"
    FIELD_UNKNOWN = "field-unknown"
    WRONG_TYPE = "wrong-type"
    WRONG_VALUE = "wrong-value"
    BAD_DEVICE_TOKEN = "bad-device-token"
    TOPIC_NOT_ALLOWED = "topic-not-allowed"
    TOPIC_FOR_PUSH_TYPE = "topic-for-push-type"
    BAD_PUSH_TYPE = "bad-push-type"
    BAD_PAYLOAD = "bad-payload"
    BAD_PRIORITY = "bad-priority"
    BAD_EXPIRATION = "bad-expiration"
    BAD_COLLAPSE_ID = "bad-collapse-id"
    NO_CREDENTIAL = "no-credential"
    RATE_LIMITED = "rate-limited"
    QUEUE_FULL = "queue-full"
    INTERNAL = "internal-error"
    STORE_UNAVAILABLE = "store-unavailable"
    STORE_IN_DOUBT = "store-in-doubt"
    STORE_REFUSED = "store-refused"
    TOO_BUSY = "too-busy"


# the one policy that the RateLimit headers tell of, and that may be violated
RATE_POLICY: Final = "tenant"


KINDS: Final[dict[StrEnum, Kind]] = {
    Code.BAD_REQUEST: Kind(400, "The request is not valid HTTP"),
    Code.EMPTY_BODY: Kind(400, "The request has no body"),
    Code.MALFORMED_JSON: Kind(400, "The body is not valid JSON"),
    Code.BAD_COMPRESSION: Kind(400, "The body can't be decompressed"),
    Code.KEY_MISSING: Kind(401, "There is no API key"),
    Code.KEY_UNKNOWN: Kind(401, "The API key is not known"),
    Code.KEY_OVER: Kind(401, "The API key's time is over"),
    Code.SCOPE_MISSING: Kind(403, "The API key is not for this"),
    Code.TENANT_DISABLED: Kind(403, "The tenant is disabled"),
    Code.NOT_FOUND: Kind(404, "There is nothing at this address"),
    Code.METHOD_NOT_ALLOWED: Kind(405, "The method is not allowed here"),
    Code.BODY_TOO_SLOW: Kind(408, "The body did not arrive in time", retryable=True),
    Code.BODY_TOO_LARGE: Kind(413, "The body is too large"),
    Code.BATCH_TOO_LARGE: Kind(413, "The batch has too many notifications"),
    Code.PAYLOAD_TOO_LARGE: Kind(413, "The payload is too large for Apple"),
    Code.CONTENT_TYPE: Kind(415, "The content type is not supported"),
    Code.CONTENT_ENCODING: Kind(415, "The content encoding is not supported"),
    Code.BATCH_EMPTY: Kind(422, "The batch is empty"),
    Code.FIELD_MISSING: Kind(422, "A field is missing"),
    Code.FIELD_UNKNOWN: Kind(422, "A field is not known"),
    Code.WRONG_TYPE: Kind(422, "A value has the wrong type"),
    Code.WRONG_VALUE: Kind(422, "A value is not one of those allowed"),
    Code.BAD_DEVICE_TOKEN: Kind(422, "The device token is not valid"),
    Code.TOPIC_NOT_ALLOWED: Kind(422, "The topic is not one of this tenant's"),
    Code.TOPIC_FOR_PUSH_TYPE: Kind(422, "The topic does not fit the push type"),
    Code.BAD_PUSH_TYPE: Kind(422, "The push type is not valid"),
    Code.BAD_PAYLOAD: Kind(422, "The payload is not valid"),
    Code.BAD_PRIORITY: Kind(422, "The priority is not valid"),
    Code.BAD_EXPIRATION: Kind(422, "The expiration is not valid"),
    Code.BAD_COLLAPSE_ID: Kind(422, "The collapse id is not valid"),
    Code.NO_CREDENTIAL: Kind(422, "There is no credential to send this with"),
    Code.RATE_LIMITED: Kind(
        429,
        "The tenant sends more than its rate",
        retryable=True,
        type_name="quota-exceeded",
        violated=(RATE_POLICY,),
    ),
    Code.QUEUE_FULL: Kind(429, "The tenant's own queue is full", retryable=True),
    Code.INTERNAL: Kind(500, "Something went wrong in Clarion"),
    Code.STORE_UNAVAILABLE: Kind(503, "The queue can't be reached", retryable=True),
    Code.STORE_IN_DOUBT: Kind(503, "The queue did not answer"),
    Code.STORE_REFUSED: Kind(503, "The queue takes no pushes", retryable=True),
    Code.TOO_BUSY: Kind(503, "Clarion is too busy", retryable=True, type_name="temporary-reduced-capacity"),
}


class Problem(
    Base, frozen=True, kw_only=True, omit_defaults=True, rename={"violated_policies": "violated-policies"}
):
    """The document of RFC 9457, with ``code``, ``errors`` and ``retryable`` as its extensions.

    ``violated_policies`` is an extension of the draft about rate limits: names out of the RateLimit-Policy header.
    """

    violated_policies: Sequence[str] = ()


def problem(refusal: Refusal, instance: str = "") -> Problem:
    """The document that says what ``refusal`` means."""
    kind = KINDS[refusal.code]
    return document(Problem, kind, refusal, instance, violated_policies=kind.violated)
