"""What a worker counts about itself. The reasons are Apple's, and those of Clarion's own that pushes end with."""

from typing import Final

from engine.link.link import Phase
from runtime.measures import SECONDS, Kind, Measure, Table, starts

REASONS: Final = (
    "BadDeviceToken",
    "DeviceTokenNotForTopic",
    "Unregistered",
    "ExpiredToken",
    "PayloadEmpty",
    "PayloadTooLarge",
    "BadCollapseId",
    "BadExpirationDate",
    "BadMessageId",
    "BadPath",
    "BadPriority",
    "BadTopic",
    "DuplicateHeaders",
    "InvalidPushType",
    "MethodNotAllowed",
    "MissingDeviceToken",
    "MissingProviderToken",
    "MissingTopic",
    "TopicDisallowed",
    "TooManyRequests",
    "Expired",
    "Exhausted",
    "InDoubt",
    "Poison",
    "EnvironmentUnknown",
    "TenantUnknown",
    "Unreadable",
    "CampaignUnknown",
    "other",
)

_KNOWN: Final = frozenset(REASONS)


def label_of(reason: str) -> str:
    """The one of ``REASONS`` that a dead letter's reason is counted under. Letters have more words than these, and a
    peer may invent any number of them."""
    word = reason.partition(":")[0]
    return word if word in _KNOWN else "other"


STARTS: Final = starts()
PUSHES: Final = Measure(
    Kind.COUNTER,
    "clarion_pushes",
    "What became of pushes: accepted by APNs, buried as dead letters, put off to be tried later, resent at once.",
    label="outcome",
    values=("accepted", "buried", "put_off", "resent"),
)
BURIED: Final = Measure(
    Kind.COUNTER, "clarion_buried", "Dead letters, by reason.", label="reason", values=REASONS
)
QUEUE_S: Final = Measure(
    Kind.HISTOGRAM,
    "clarion_queue_wait_seconds",
    "From the API to a worker's hands; of pushes that are claimed together, the longest stands for all.",
    bounds=SECONDS,
)
TRIP_S: Final = Measure(
    Kind.HISTOGRAM,
    "clarion_apns_round_trip_seconds",
    "From a write to the answer to its last push; one at a time on each link.",
    bounds=SECONDS,
)
ACCEPTED_S: Final = Measure(
    Kind.HISTOGRAM,
    "clarion_acceptance_seconds",
    "From the API to the acceptance by APNs; of a batch of answers, one stands for all.",
    bounds=SECONDS,
)
IN_HAND: Final = Measure(Kind.GAUGE, "clarion_in_hand", "Pushes claimed and without a fate.")
IN_HAND_GOAL: Final = Measure(
    Kind.GAUGE, "clarion_in_hand_goal", "How many there should be, if there are enough."
)
WAITING: Final = Measure(Kind.GAUGE, "clarion_waiting_for_link", "Pushes in hand that no link has taken yet.")
STREAMS: Final = Measure(Kind.GAUGE, "clarion_streams", "Pushes written and not answered.")
ROOM: Final = Measure(Kind.GAUGE, "clarion_streams_room", "Streams that links would take now.")
WINDOW: Final = Measure(
    Kind.GAUGE, "clarion_window_bytes", "Bytes that the windows of all connections have left."
)
LINKS: Final = Measure(
    Kind.GAUGE,
    "clarion_links",
    "Connections to APNs, by state.",
    label="state",
    values=tuple(phase.name.lower() for phase in Phase if phase is not Phase.CLOSED),
)
LINKS_OPENED: Final = Measure(Kind.COUNTER, "clarion_links_opened", "Connections to APNs that were opened.")
LINKS_SPARED: Final = Measure(
    Kind.COUNTER,
    "clarion_links_spared",
    "Of those, how many were closed because the others were enough for long.",
)
POOLS: Final = Measure(
    Kind.GAUGE, "clarion_pools", "Credentials, by environment, that connections are kept for."
)
SHARDS: Final = Measure(Kind.GAUGE, "clarion_shards_held", "Shards that the worker holds.")

WORKER: Final = Table(
    *(STARTS, PUSHES, BURIED, QUEUE_S, TRIP_S, ACCEPTED_S),
    *(
        IN_HAND,
        IN_HAND_GOAL,
        WAITING,
        STREAMS,
        ROOM,
        WINDOW,
        LINKS,
        LINKS_OPENED,
        LINKS_SPARED,
        POOLS,
        SHARDS,
    ),
)
