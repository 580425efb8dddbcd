"""The description of the HTTP interface as OpenAPI 3.1, its schemas generated from the Structs that do the work.

What can be generated is: fields, types, defaults and required fields come from the same Structs that decode and
encode. Only the sentences, the examples and the fields that msgspec sees as anything (the payload) stand here.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ingest.admission import BAD_TOKEN, COLLAPSE_ID_BYTES_MOST, PRIORITIES, TOKEN_DIGITS_MOST
from ingest.body import JSON, NDJSON
from ingest.faults import EXPECTED
from ingest.options import IngestOptions
from ingest.problems import KINDS, Code, Problem, problem
from ingest.results import TOLD_IN_FULL_MOST, Accepted, BatchCounts, Refused, RefusedBriefly
from ingest.standing import Obstacle, Standing, StandingLimits, Waiting
from shards.notification import CampaignRequest, Notification
from shards.problem import CONTENT_TYPE, Refusal

EXAMPLE: Final[dict[str, Any]] = {
    "device_token": "0a1b2c3d" * 8,
    "topic": "com.example.app",
    "payload": {"aps": {"alert": {"title": "Hello", "body": "World"}, "sound": "default"}},
}
FULL_EXAMPLE: Final[dict[str, Any]] = {
    **EXAMPLE,
    "lane": "low",
    "push_type": "background",
    "priority": 5,
    "expiration": 0,
    "collapse_id": "inbox-42",
    "environment": "sandbox",
    "payload": {"aps": {"content-available": 1}},
}
CAMPAIGN_EXAMPLE: Final[dict[str, Any]] = {
    "device_tokens": ["0a1b2c3d" * 8, "4e5f6071" * 8],
    "topic": "com.example.app",
    "payload": {"aps": {"alert": "Today only"}},
    "lane": "low",
}
PUSH_STATUSES: Final = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
ID_EXAMPLE: Final = "019a2b3c-4d5e-7f60-8a1b-2c3d4e5f6071"
STANDING_EXAMPLE: Final = Standing(
    name="example",
    topics=("com.example.app",),
    environments=["production"],
    limits=StandingLimits(1, None, None, 1000.0, 5000, 2_000_000),
    paused=(),
    disabled=False,
    conditions=[
        Obstacle(
            "production",
            "A1B2C3D4E5",
            "",
            "InvalidProviderToken",
            "paused since 2026-01-01 00:00: APNs says InvalidProviderToken to key A1B2C3D4E5 in production …",
            1767225600000,
            1767225660000,
            12,
        )
    ],
    waiting=Waiting(0, 1840, 3, False),
    as_of_ms=1767225661000,
)
# draft-ietf-httpapi-ratelimit-headers: structured fields (RFC 9651)
RATE_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "RateLimit-Policy": {
        "description": "If the tenant has a rate: q is how many pushes may come at once. A batch counts as many as it "
        "has, and may go beyond it; those that come after it wait the longer.",
        "schema": {"type": "string", "examples": ['"tenant";q=5000;w=1']},
    },
    "RateLimit": {
        "description": "If the tenant has a rate: r is how many pushes are left, and t in how many seconds all of q is "
        "there again. Several processes serve a tenant, and each knows what the others took a moment later.",
        "schema": {"type": "string", "examples": ['"tenant";r=4210;t=1']},
    },
}
RETRY_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Retry-After": {
        "description": "In how many seconds to try again",
        "schema": {"type": "integer", "minimum": 1},
    },
}
REFUSED_EXAMPLE: Final = problem(
    Refusal(Code.BAD_PRIORITY, "Apple refuses background pushes with priority 10; write 5", "/priority")
)

BAD_TOKEN_EXAMPLE: Final = problem(msgspec.structs.replace(BAD_TOKEN, pointer="/device_tokens/1"))


def describe(options: IngestOptions, release: str) -> dict[str, Any]:
    """The OpenAPI document of an ingest that runs with ``options``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clarion",
            "version": release,
            "description": "A gateway to Apple's push service. A push is accepted (202) when it is stored durably; it "
            "is sent at least once, under the apns-id that the answer gives. The answer to a refused request is a "
            "problem document (RFC 9457), whose codes are listed at /docs/problems.",
        },
        "security": [{"apiKey": []}],
        "paths": {
            "/v1/push": {"post": _push()},
            "/v1/push/batch": {"post": _batch(options)},
            "/v1/push/campaign": {"post": _campaign(options)},
            "/v1/tenant": {"get": _tenant()},
            "/livez": {"get": _open("The process answers", "Asks nobody else.", 200)},
            "/readyz": {"get": _open("Redis answers within a second", "503 until it does.", 200, 503)},
            "/version": {"get": _open("The version that runs", "The installed release.", 200)},
            "/openapi.json": {"get": _open("This description", "OpenAPI 3.1.", 200)},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "A tenant's API key"}
            },
        },
    }


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        [Notification, CampaignRequest, Accepted, Refused, RefusedBriefly, BatchCounts, Problem, Standing],
        ref_template="#/components/schemas/{name}",
    )
    token = {"pattern": "^([0-9A-Fa-f]{2})+$", "maxLength": TOKEN_DIGITS_MOST}
    tokens = {"type": "array", "items": {"type": "string", **token}, "minItems": 1}
    for name in ("Notification", "CampaignRequest"):
        _detail(schemas[name]["properties"])
    schemas["Notification"]["properties"]["device_token"] |= token
    schemas["CampaignRequest"]["properties"]["device_tokens"] |= tokens
    # by hand: msgspec can't tell which of two untagged Structs a result is, and so makes no schema for it
    counts = schemas["BatchCounts"]
    kinds = [_ref("Accepted"), _ref("Refused"), _ref("RefusedBriefly")]
    results = {"type": "array", "items": {"anyOf": kinds}}
    schemas["BatchAnswer"] = {
        "title": "BatchAnswer",
        "description": "The answer to a batch or a campaign: one result for each push, in order. Of the refused, the "
        f"first {TOLD_IN_FULL_MOST} are told in full, and the others by status, code and retryable.",
        "type": "object",
        "properties": {**counts["properties"], "results": results},
        "required": [*counts["required"], "results"],
    }
    schemas["Notification"]["examples"] = [EXAMPLE, FULL_EXAMPLE]
    schemas["CampaignRequest"]["examples"] = [CAMPAIGN_EXAMPLE]
    return schemas


def _detail(fields: dict[str, Any]) -> None:
    """What the types of a push's fields do not say."""
    for name, field in fields.items():
        field["description"] = EXPECTED[name][:1].upper() + EXPECTED[name][1:]
    fields["payload"] |= {"type": "object", "minProperties": 1}
    fields["priority"] |= {"enum": [*PRIORITIES, None]}
    fields["push_type"] |= {"pattern": "^[a-z]{1,32}$"}
    fields["collapse_id"] |= {"maxLength": COLLAPSE_ID_BYTES_MOST}


def _push() -> dict[str, Any]:
    return {
        "operationId": "push",
        "summary": "Send one notification",
        "description": "202 when the push is stored. A 503 with the code store-in-doubt means that it may have been.",
        "requestBody": {"required": True, "content": {JSON: _content("Notification", EXAMPLE)}},
        "responses": {
            "202": _response("Accepted", JSON, _content("Accepted", {"id": ID_EXAMPLE}), RATE_HEADERS),
            **_problems(*PUSH_STATUSES),
        },
    }


def _batch(options: IngestOptions) -> dict[str, Any]:
    return _many(
        "pushBatch",
        "Send many notifications",
        f"At most {options.batch_items_most} notifications and {options.body_bytes_most} bytes, also "
        "after decompression. There is one result for each notification, in order, and a bad one does not spoil the "
        "others. The pointer in an error is relative to its notification.",
        {
            JSON: {
                "schema": {"type": "array", "items": _ref("Notification"), "minItems": 1},
                "example": [EXAMPLE, FULL_EXAMPLE],
            },
            NDJSON: {"schema": _ref("Notification")},
        },
        REFUSED_EXAMPLE,
    )


def _campaign(options: IngestOptions) -> dict[str, Any]:
    return _many(
        "pushCampaign",
        "Send one notification to many devices",
        f"At most {options.campaign_devices_most} devices and {options.body_bytes_most} bytes, also after "
        "decompression. There is one result for each device, in order, and a bad token does not spoil the others; what "
        "they have in common is refused as a whole. Each device counts as one push.",
        {JSON: _content("CampaignRequest", CAMPAIGN_EXAMPLE)},
        BAD_TOKEN_EXAMPLE,
    )


def _many(
    operation: str, summary: str, description: str, body: Mapping[str, Any], refused: Problem
) -> dict[str, Any]:
    """A resource that takes many pushes and answers each."""
    example = {
        "accepted": 1,
        "refused": 1,
        "results": [{"id": ID_EXAMPLE}, {"error": msgspec.to_builtins(refused)}],
    }
    answer = _response(
        "All accepted",
        JSON,
        _content("BatchAnswer", {**example, "refused": 0, "results": [{"id": ID_EXAMPLE}]}),
        RATE_HEADERS,
    )
    return {
        "operationId": operation,
        "summary": summary,
        "description": description,
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "description": "return=minimal answers with the counts only",
                "schema": {"type": "string", "examples": ["return=minimal"]},
            },
            {"name": "Content-Encoding", "in": "header", "schema": {"enum": ["gzip", "identity"]}},
        ],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "202": answer,
            "207": _response("Some or all refused", JSON, _content("BatchAnswer", example), RATE_HEADERS),
            **_problems(*PUSH_STATUSES),
        },
    }


def _tenant() -> dict[str, Any]:
    example = msgspec.to_builtins(STANDING_EXAMPLE)
    return {
        "operationId": "tenant",
        "summary": "See how the tenant stands",
        "description": "For keys with the scope read. What waits, and what holds the tenant up, is looked at once a "
        "second at most; who asks more often gets the same again.",
        "responses": {
            "200": _response("The tenant", JSON, _content("Standing", example)),
            **_problems(401, 403, 500, 503),
        },
    }


def _open(summary: str, description: str, *statuses: int) -> dict[str, Any]:
    """A resource that needs no key."""
    fine = {"200": _response(summary, JSON, {"schema": {"type": "object"}})}
    problems = _problems(*(status for status in statuses if status != 200))
    return {"summary": summary, "description": description, "security": [], "responses": fine | problems}


def _problems(*statuses: int) -> dict[str, Any]:
    responses = {}
    for status in statuses:
        codes = ", ".join(code for code, kind in KINDS.items() if kind.status == status)
        headers = {
            **(RETRY_HEADERS if status in (429, 503) else {}),
            **(RATE_HEADERS if status == 429 else {}),
        }
        responses[str(status)] = _response(
            f"Codes: {codes}", CONTENT_TYPE, {"schema": _ref("Problem")}, headers
        )
    return responses


def _response(
    description: str, media_type: str, content: Mapping[str, Any], headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    response = {"description": description, "content": {media_type: content}}
    return {**response, "headers": headers} if headers else response


def _content(schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema": _ref(schema), "example": example}


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
