"""The words of Apple's push service: reasons with their statuses, push types with their topics, limits.

Source: Apple's pages "Sending notification requests to APNs", "Handling notification responses from
APNs" and "Establishing a token-based connection to APNs". The gateway has its own copy of this
vocabulary; the two are kept apart on purpose, so that a wrong line in one shows up as a failing test.
"""

from typing import Final

# Reason -> status. These are all that the page on responses lists for pushes to a device.
STATUS: Final[dict[str, int]] = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}

# Push type -> what its topic adds to the bundle id. None: the topic is no bundle id at all (for `mdm` it
# is the UID of the MDM push certificate), so it must be registered as it stands.
TOPIC_SUFFIX: Final[dict[bytes, str | None]] = {
    b"alert": "",
    b"background": "",
    b"complication": ".complication",
    b"controls": ".push-type.controls",
    b"fileprovider": ".pushkit.fileprovider",
    b"liveactivity": ".push-type.liveactivity",
    b"location": ".location-query",
    b"mdm": None,
    b"pushtotalk": ".voip-ptt",
    b"voip": ".voip",
    b"widgets": ".push-type.widgets",
}

SUFFIXES: Final[tuple[str, ...]] = tuple(suffix for suffix in TOPIC_SUFFIX.values() if suffix)

PRIORITIES: Final[frozenset[bytes]] = frozenset((b"10", b"5", b"1"))

PAYLOAD_BYTES_MAX: Final = 4096
PAYLOAD_BYTES_MAX_VOIP: Final = 5120
COLLAPSE_ID_BYTES_MAX: Final = 64

# A provider token is good for an hour, and may be exchanged once in twenty minutes.
PROVIDER_TOKEN_AGE_MAX_S: Final = 3600
PROVIDER_TOKEN_CHANGE_MIN_S: Final = 1200


def topics_of(bundle_ids: tuple[str, ...]) -> frozenset[bytes]:
    """Every topic that a key for these bundle ids may name: the ids, and each with each suffix."""
    return frozenset((bundle_id + suffix).encode() for bundle_id in bundle_ids for suffix in ("", *SUFFIXES))
