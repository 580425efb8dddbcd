"""What an ingest process counts about itself."""

from typing import Final

from runtime.measures import SECONDS, Kind, Measure, Table, starts

_STATUSES: Final = (200, 202, 207, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503)

STARTS: Final = starts()
REQUESTS: Final = Measure(
    Kind.COUNTER,
    "clarion_http_requests",
    "Requests to the API that were answered, by status.",
    label="status",
    values=(*map(str, _STATUSES), "other"),
)
REQUEST_S: Final = Measure(
    Kind.HISTOGRAM,
    "clarion_http_request_seconds",
    "From a request's head to its answer: for a push, until Redis has it.",
    bounds=SECONDS,
)
STORED: Final = Measure(Kind.COUNTER, "clarion_pushes_stored", "Pushes that the API took and Redis has.")
INGEST: Final = Table(STARTS, REQUESTS, REQUEST_S, STORED)
