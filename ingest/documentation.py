"""The documentation as HTML: two pages rendered from what the program itself uses, without anything from elsewhere.

``api_page`` is rendered from the OpenAPI description, and ``problems_page`` from the table of problems, whose
``type`` addresses lead to it. So neither can say what the program does not do.
"""

from collections.abc import Iterator
from html import escape
from json import dumps
from typing import Any, Final

from ingest.problems import KINDS

STYLE: Final = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
pre { padding: .8rem; overflow-x: auto; border: 1px solid #8886; border-radius: 6px }
code, pre { font: .9em ui-monospace, monospace }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8884 }
h2 { margin-top: 2.5rem }
:target { background: #fc04 }
"""


def api_page(description: dict[str, Any]) -> str:
    """Every operation and every schema of an OpenAPI description."""
    info = description["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
    ]
    parts.append('<p><a href="/openapi.json">openapi.json</a> · <a href="/docs/problems">problems</a></p>')
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            parts.extend(_operation(method.upper(), path, operation))
    parts.append("<h1>Schemas</h1>")
    for name, schema in description["components"]["schemas"].items():
        parts.extend(_schema(name, schema))
    return _page(info["title"], parts)


def problems_page() -> str:
    """Every code of a problem document, with its status and whether to try again."""
    rows = [
        f'<tr id="{escape(code)}"><td><code>{escape(code)}</code>{_anchor(kind.type_name)}'
        f"<td>{kind.status}<td>{escape(kind.title)}"
        f"<td>{'yes' if kind.retryable else 'no'}"
        for code, kind in KINDS.items()
    ]
    intro = (
        "<h1>Problems</h1><p>What went wrong is said in <code>detail</code>, and where in <code>errors</code>. "
        "<code>retryable</code> tells that the same request may be accepted later and can't act twice. "
        "<code>violated-policies</code> names the policies of the RateLimit-Policy header that were.</p>"
    )
    parts = [
        intro,
        "<table><tr><th>code<th>status<th>title<th>retryable",
        *rows,
        "</table>",
    ]
    return _page("Problems", parts)


def _anchor(name: str) -> str:
    """Where the address of a type leads that has another name than its code."""
    return f'<br>type <code id="{escape(name)}">{escape(name)}</code>' if name else ""


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2><p><b>{escape(operation['summary'])}.</b> "
    yield f"{escape(operation.get('description', ''))}</p>"
    for parameter in operation.get("parameters", ()):
        yield f"<p>Header <code>{escape(parameter['name'])}</code> {escape(parameter.get('description', ''))}</p>"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(media_type)}</code></p>"
        if "example" in content:
            yield _json(content["example"])
    yield "<table><tr><th>status<th>meaning"
    for status, response in operation["responses"].items():
        yield f"<tr><td>{escape(status)}<td>{escape(response['description'])}"
        for name, header in response.get("headers", {}).items():
            yield f"<br>Header <code>{escape(name)}</code>: {escape(header['description'])}"
        for content in response["content"].values():
            if "example" in content:
                yield _json(content["example"])
    yield "</table>"


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(name)}">{escape(name)}</h2>'
    if "enum" in schema:
        yield f"<p>One of {escape(', '.join(map(repr, schema['enum'])))}</p>"
        return
    required = schema.get("required", ())
    yield "<table><tr><th>field<th>type<th>default<th>meaning"
    for field, facts in schema.get("properties", {}).items():
        default = "required" if field in required else dumps(facts.get("default"))
        yield f"<tr><td><code>{escape(field)}</code><td>{_type(facts)}<td>{escape(default)}"
        yield f"<td>{escape(facts.get('description', ''))}"
    yield "</table>"


def _type(facts: dict[str, Any]) -> str:
    if "$ref" in facts:
        name = escape(facts["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for union in ("anyOf", "oneOf"):
        if union in facts:
            return " or ".join(map(_type, facts[union]))
    if "items" in facts:
        return f"array of {_type(facts['items'])}"
    return escape(str(facts.get("type", "anything")))


def _json(example: Any) -> str:
    return f"<pre>{escape(dumps(example, indent=2))}</pre>"


def _page(title: str, parts: list[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>\n' + "\n".join(parts)
    )
