"""The pipelines for people and programs: an OpenAPI document and a page, from the descriptions."""

from __future__ import annotations

import hashlib
import html
import json
from typing import TYPE_CHECKING, Any

from attrs import define, field

from podium_ai_runner.pipelines.describe import PIPELINES, Answer, Description, Field, Kind

if TYPE_CHECKING:
    from collections.abc import MutableMapping

DOCUMENT_PATH = "/ai/openapi.json"
PAGE_PATH = "/ai/docs"
TYPES = {Kind.TEXT: "string", Kind.INT: "integer", Kind.FLOAT: "number", Kind.BOOL: "boolean"}
TEXT: dict[str, Any] = {"type": "string"}
INT: dict[str, Any] = {"type": "integer"}

MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant"]},
        "content": TEXT,
    },
    "required": ["role", "content"],
}
IMAGE = {
    "type": "object",
    "properties": {"url": TEXT, "seed": INT, "nsfw": {"type": "boolean"}},
    "required": ["url", "seed", "nsfw"],
}
USAGE = {name: INT for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


ANSWERS: dict[Answer, dict[str, Any]] = {
    Answer.IMAGES: _object(images=_list(IMAGE)),
    Answer.VIDEO: _object(images={**_list(IMAGE), "minItems": 1, "maxItems": 1}),
    Answer.AUDIO: _object(audio=_object(url=TEXT)),
    Answer.TRANSCRIPT: _object(
        text=TEXT,
        chunks=_list(_object(timestamp=_list({"type": "number"}), text=TEXT)),
    ),
    Answer.MASKS: _object(masks=TEXT, scores=TEXT, logits=TEXT),
    Answer.TEXT: _object(text=TEXT),
    Answer.CHAT: _object(
        id=TEXT,
        model=TEXT,
        created=INT,
        usage=_object(**USAGE),
        choices=_list(
            {
                "type": "object",
                "properties": {
                    "index": INT,
                    "finish_reason": {"type": ["string", "null"]},
                    "message": MESSAGE,
                    "delta": MESSAGE,
                },
            }
        ),
    ),
}
ERRORS = {
    400: "The request is wrong, or its payment.",
    402: "The payment cannot be read.",
    403: "The credentials do not hold.",
    500: "The runner failed; its text follows.",
    503: "insufficient capacity",
}
HEADERS = [
    {
        "name": name,
        "in": "header",
        "required": True,
        "description": text,
        "schema": TEXT,
    }
    for name, text in (
        ("Livepeer-Segment", "Credentials: a SegData message in base64."),
        ("Livepeer-Payment", "A Payment message in base64; empty off chain."),
    )
]


def _schema(one: Field) -> dict[str, Any]:
    if one.kind is Kind.MESSAGES:
        return {"type": "array", "items": MESSAGE, "description": one.help}
    schema: dict[str, Any] = {"type": TYPES[one.kind], "description": one.help}
    if one.runner_default is not None:
        schema["default"] = one.runner_default
    if one.price_default is not None and one.price_default != one.runner_default:
        schema["description"] += f" Priced as {one.price_default} where it is absent."
    return schema


def _request(one: Description) -> dict[str, Any]:
    properties = {field.name: _schema(field) for field in one.fields}
    required = [field.name for field in one.fields if field.required]
    kind = "application/json"
    if one.file is not None:
        kind = "multipart/form-data"
        file = {"type": "string", "format": "binary"}
        properties = {one.file.name: file, **properties}
        required = [one.file.name, *required]
    schema = {"type": "object", "properties": properties, "required": required}
    return {"required": True, "content": {kind: {"schema": schema}}}


def _operation(one: Description) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": ANSWERS[one.answer]}}
    if one.answer is Answer.CHAT:
        content["text/event-stream"] = {"schema": TEXT}
    errors = {
        str(status): {"description": text, "content": {"text/plain": {"schema": TEXT}}}
        for status, text in ERRORS.items()
    }
    return {
        "operationId": one.name,
        "summary": one.title,
        "description": f"{one.help} Counted in {one.unit}s: {one.units.value}.",
        "parameters": HEADERS,
        "requestBody": _request(one),
        "responses": {"200": {"description": one.help, "content": content}, **errors},
        "x-livepeer-capability": one.capability,
    }


def make_document(service_uri: str, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the pipelines.

    Args:
        service_uri: Where they are served.
        version: Of the network's protocol that the node speaks.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AI jobs",
            "version": version,
            "description": "What an orchestrator of the Livepeer network does for gateways.",
        },
        "servers": [{"url": service_uri}],
        "paths": {f"/{one.name}": {"post": _operation(one)} for one in PIPELINES},
    }


def make_page(document: dict[str, Any]) -> str:
    """Return the document as a page that needs nothing else."""
    sections = "".join(
        _section(path, methods["post"]) for path, methods in document["paths"].items()
    )
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td,th{border:1px solid #8884;padding:.2rem;"
        "text-align:left;vertical-align:top}code{background:#8882;padding:0 .2rem}"
        ":root{color-scheme:light dark}"
    )
    title = html.escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style><h1>{title}</h1>"
        f"<p>{html.escape(document['info']['description'])} "
        f'<a href="{DOCUMENT_PATH}">As OpenAPI</a>.</p>{sections}'
    )


def _section(path: str, operation: dict[str, Any]) -> str:
    ((kind, body),) = operation["requestBody"]["content"].items()
    schema = body["schema"]
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>{html.escape(str(one['type']))}</td>"
        f"<td>{'yes' if name in schema['required'] else ''}</td>"
        f"<td>{html.escape(json.dumps(one['default'])) if 'default' in one else ''}</td>"
        f"<td>{html.escape(one.get('description', ''))}</td></tr>"
        for name, one in schema["properties"].items()
    )
    return (
        f"<h2>POST {html.escape(path)}</h2><p>{html.escape(operation['description'])} "
        f"Sent as <code>{kind}</code>.</p><table><tr><th>field<th>type<th>required<th>default"
        f"<th></tr>{rows}</table>"
    )


@define(eq=False)
class Page:
    """Serves both; they are made once."""

    service_uri: str
    version: str
    _document: bytes = field(init=False)
    _page: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        document = make_document(self.service_uri, self.version)
        self._document = json.dumps(document).encode()
        self._page = make_page(document).encode()

    async def document(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer with the document (ASGI)."""
        del receive
        await _answer(scope, send, self._document, b"application/json")

    async def page(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer with the page (ASGI)."""
        del receive
        await _answer(scope, send, self._page, b"text/html; charset=utf-8")


async def _answer(scope: MutableMapping[str, Any], send: Any, body: bytes, kind: bytes) -> None:
    if scope["type"] != "http":
        return
    tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
    status, wanted = 200, dict(scope["headers"]).get(b"if-none-match")
    if scope["method"] not in ("GET", "HEAD"):
        status, body, kind = 405, b"method not allowed\n", b"text/plain"
    elif wanted == tag:
        status, body = 304, b""
    headers = [
        (b"content-type", kind),
        (b"etag", tag),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
