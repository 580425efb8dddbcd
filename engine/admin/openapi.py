"""The description of the admin API as OpenAPI 3.1, written from the table of routes and the Structs behind it."""

import re
from typing import Any, Final

import msgspec

from engine.admin.problems import KINDS
from engine.admin.routes import ROUTES, Route
from shards.problem import CONTENT_TYPE, Problem

JSON: Final = "application/json"
_PARTS: Final = {
    "tenant": "The tenant's name.",
    "name": "The bundle id, the credential's name, or the API key's prefix.",
}
# what may be said of any request: one that takes no body may be sent one
_ALWAYS: Final = (400, 401, 403, 404, 408, 413, 415, 422, 500, 503)


def describe(release: str) -> dict[str, Any]:
    """The OpenAPI document."""
    structs = {struct for route in ROUTES for struct in (route.body, route.answer) if struct is not None}
    ordered = sorted(structs, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(
        [*ordered, Problem], ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    for path, summary in (
        ("/livez", "The process answers"),
        ("/readyz", "Redis answers within a second"),
        ("/openapi.json", "This description"),
    ):
        fine = {"description": summary, "content": {JSON: {"schema": {"type": "object"}}}}
        answers = {"200": fine} | (_problems(503) if path == "/readyz" else {})
        paths[path] = {"get": {"summary": summary, "security": [], "responses": answers}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clarion administration",
            "version": release,
            "description": "Tenants, applications, credentials and API keys. What is not done is told by a problem "
            "document (RFC 9457), whose codes are listed at /docs/problems. Times are Unix milliseconds.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The admin token; or, for what is a tenant's own, its API key with the scope admin",
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    words = route.name.split()
    operation: dict[str, Any] = {
        "operationId": words[0] + "".join(word.capitalize() for word in words[1:]),
        "tags": [words[0]],
        "summary": route.summary,
        "description": "With the admin token only."
        if route.operator
        else "Also with the tenant's own API key.",
        "responses": {
            str(route.status): {"description": "Done", "content": {JSON: {"schema": _ref(route.answer)}}},
            **_problems(*_ALWAYS, *((409,) if route.changes else ())),
        },
    }
    parameters = [
        {
            "name": part,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": _PARTS[part],
        }
        for part in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.query is not None:
        parameters += [
            {"name": field.encode_name, "in": "query", "schema": msgspec.json.schema(field.type)}
            for field in msgspec.structs.fields(route.query)
        ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        needed = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": needed, "content": {JSON: {"schema": _ref(route.body)}}}
    return operation


def _problems(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {
            "description": "Codes: "
            + ", ".join(code.value for code, kind in KINDS.items() if kind.status == status),
            "content": {CONTENT_TYPE: {"schema": _ref(Problem)}},
        }
        for status in sorted(statuses)
    }


def _ref(struct: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}
