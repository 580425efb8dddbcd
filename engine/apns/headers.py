"""Jobs as APNs requests (Apple, *Sending notification requests to APNs*). Pure.

What the pushes of a link share is a ``Profile``, kept by (topic, push type, priority); what differs is the path and
the apns-id, and now and then an expiration or a collapse id. What a tenant did not give is not sent.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from engine.apns.identity import Badge
from engine.http2.header_encoder import Field, Profile
from shards.job import Job

DEVICE_PATH: Final = b"/3/device/"
# of one book: a key has 400 topics at most, but a tenant may make up push types, and with them topics, for ever
PROFILES_MOST: Final = 1_000

# (job, the run that it was claimed in): what comes back with the job's outcome
Held = tuple[Job, Any]


class ProfileBook:
    """The profiles of one link: its authority and badge with each topic, push type and priority.

    ``until_s``: when the badge is worn out, and another book must take this one's place (Unix seconds).
    """

    def __init__(self, authority: bytes, badge: Badge) -> None:
        self.until_s = badge.until_s
        self._shared: tuple[Field, ...] = (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", authority),
            *badge.headers,
        )
        self.profiles: dict[tuple[str, str, int], Profile] = {}

    def __repr__(self) -> str:
        return f"<ProfileBook {len(self.profiles)} profiles>"

    def add(self, topic: str, push_type: str, priority: int) -> Profile:
        """A new profile. ``priority`` 0 is left out, which APNs takes as 10."""
        fields = [*self._shared, (b"apns-topic", topic.encode()), (b"apns-push-type", push_type.encode())]
        if priority:
            fields.append((b"apns-priority", b"%d" % priority))
        if len(self.profiles) >= PROFILES_MOST:
            self.profiles.clear()
        profile = self.profiles[topic, push_type, priority] = Profile(tuple(fields), b"apns-id")
        return profile


# in the shape of ``engine.http2.request_writer.Request``, as a bare tuple: a named one costs 0.2 µs more
Row = tuple[Held, Profile, bytes, bytes, tuple[Field, ...], bytes]


def requests(held: Iterable[Held], book: ProfileBook) -> Iterator[Row]:
    """A request for each job, made as it is asked for."""
    known = book.profiles.get
    # most have that of the one before them
    profile: Profile | None = None
    topic, push_type, priority = "", "", 0
    for entry in held:
        job = entry[0]
        if profile is None or job.topic != topic or job.push_type != push_type or job.priority != priority:
            topic, push_type, priority = key = job.topic, job.push_type, job.priority
            profile = known(key) or book.add(*key)
        extra = () if job.expiration < 0 and not job.collapse_id else _extra(job)
        yield entry, profile, DEVICE_PATH + job.device_token, job.id, extra, job.payload


def _extra(job: Job) -> tuple[Field, ...]:
    fields: list[Field] = []
    if job.expiration >= 0:
        fields.append((b"apns-expiration", b"%d" % job.expiration))
    if job.collapse_id:
        fields.append((b"apns-collapse-id", job.collapse_id))
    return tuple(fields)
