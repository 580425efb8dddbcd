"""Apple's push types, and what each appends to a bundle id to make a topic. Pure."""

from typing import Final

# alert and background have the bundle id itself as topic, and mdm the subject UID of the MDM certificate
SUFFIXES: Final = {
    "alert": "",
    "background": "",
    "mdm": "",
    "complication": ".complication",
    "controls": ".push-type.controls",
    "fileprovider": ".pushkit.fileprovider",
    "liveactivity": ".push-type.liveactivity",
    "location": ".location-query",
    "pushtotalk": ".voip-ptt",
    "voip": ".voip",
    "widgets": ".push-type.widgets",
}
# push types that are newer than this table: the newer ones all have a suffix of this form, or none
NEWER: Final = ".push-type."
_KNOWN: Final = tuple(sorted({suffix for suffix in SUFFIXES.values() if suffix}))

_DEVICE_MANAGEMENT: Final = "com.apple.mgmt."


def belongs(topic: str, bundle_id: str) -> bool:
    """Whether a topic is a bundle id, or that with one of Apple's suffixes (".voip", ".push-type.widgets").

    Another application, whose bundle id only begins like this one, does not belong to it.
    """
    return bundle_id in bundle_ids_of(topic)


def bundle_ids_of(topic: str) -> list[str]:
    """The bundle ids that a topic may belong to: itself, and what is left of it without each suffix that it ends in."""
    found = [topic]
    if topic.endswith(_KNOWN):
        found += [topic.removesuffix(suffix) for suffix in _KNOWN if topic.endswith(suffix)]
    before, newer, push_type = topic.rpartition(NEWER)
    if newer and "." not in push_type:
        found.append(before)
    return found


def push_type_of(topic: str) -> str:
    """A push type that fits the topic and shows nothing, as far as there is one."""
    fitting = (kind for kind, suffix in SUFFIXES.items() if suffix and topic.endswith(suffix))
    return next(fitting, "mdm" if topic.startswith(_DEVICE_MANAGEMENT) else "background")
