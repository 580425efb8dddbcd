"""The routes of ingest, and the small resources: is it alive, is it ready, which version, what does it take."""

from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from ingest.answer import HTML, JSON, Answer, refused
from ingest.conversation import Routes, with_head
from ingest.documentation import api_page, problems_page
from ingest.fates import NOT_REACHED
from ingest.handlers import Pushes
from ingest.openapi import describe
from ingest.options import IngestOptions
from ingest.standing import Standings
from ingest.store import Store
from runtime.version import installed_version
from shards.problem import Refusal

NOT_READY: Final = Refusal(
    NOT_REACHED.code, "Redis does not answer within a second; pushes are refused until it does"
)


def routes(store: Store, options: IngestOptions) -> Routes:
    """Everything that there is at this address, by path and method."""
    pushes = Pushes(store, options)
    release = installed_version()
    description = describe(options, release)
    fixed = {
        "/livez": (b'{"status":"alive"}', JSON),
        "/version": (msgspec.json.encode({"version": release}), JSON),
        "/openapi.json": (msgspec.json.encode(description), JSON),
        "/docs": (api_page(description).encode(), HTML),
        "/docs/problems": (problems_page().encode(), HTML),
    }
    return with_head(
        {
            "/v1/push": {"POST": pushes.one},
            "/v1/push/batch": {"POST": pushes.batch},
            "/v1/push/campaign": {"POST": pushes.campaign},
            "/v1/tenant": {"GET": Standings(store, options).show},
            "/readyz": {"GET": partial(_ready, store, options)},
            **{
                path: {"GET": partial(_fixed, body, content_type)}
                for path, (body, content_type) in fixed.items()
            },
        }
    )


async def _fixed(body: bytes, content_type: str, request: web.BaseRequest, request_id: str) -> Answer:
    return Answer(200, body, request_id, content_type)


async def _ready(store: Store, options: IngestOptions, request: web.BaseRequest, request_id: str) -> Answer:
    if await store.answers():
        return Answer(200, b'{"status":"ready"}', request_id)
    return refused(NOT_READY, request_id, retry_after_s=options.retry_after_s)
