"""The OpenAPI document says what the SDK does: each answer it names is provoked and compared."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from podium_executor import BadRequest, Price, executor
from podium_executor.app import ExecutorApp

DOCUMENT = json.loads(
    (Path(__file__).parents[3] / "docs/reference/executor-openapi.json").read_text()
)
KINDS = {"string": str, "integer": int, "object": dict}
JOB, HEALTH = "/{route}", "/healthz"
SECRET = "orchestrator-secret"


def resolve(schema):
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


def check(schema, value):
    schema = resolve(schema)
    assert isinstance(value, KINDS[schema["type"]])
    assert value in schema.get("enum", [value])
    if schema["type"] == "object":
        known = schema["properties"]
        assert set(schema["required"]) <= set(value)
        assert set(value) <= set(known), "undocumented"
        for key, one in value.items():
            check(known[key], one)


def matches(path, method, reply):
    """The document names this answer, its type and its body."""
    declared = DOCUMENT["paths"][path][method]["responses"][str(reply.status_code)]
    content = declared["content"][reply.headers["content-type"]]
    if "schema" in content:
        is_json = reply.headers["content-type"] == "application/json"
        check(content["schema"], reply.json() if is_json else reply.text)
    documented = {name.lower() for name in declared.get("headers", {})}
    assert {name for name in reply.headers if name.startswith("x-")} <= documented
    return reply.status_code


async def test_each_documented_answer_of_a_job_is_real(start):
    held = asyncio.Event()
    errors = {b"400": BadRequest("no"), b"500": RuntimeError("no")}
    values = {b"json": {"a": 1}, b"text": "a"}

    @executor("many", capacity=1, max_body_bytes=100, timeout_s=0.5)
    async def answers(body: bytes) -> object:
        if body == b"hold":
            held.set()
            await asyncio.sleep(0.3)
        if body == b"504":
            await asyncio.Event().wait()
        if body in errors:
            raise errors[body]
        return values.get(body, b"bytes")

    @executor("stream")
    async def stream(body: bytes):
        yield "one"

    running = await start(answers, token="t")
    right = {"Authorization": "Bearer t"}
    seen, kinds = set(), set()

    async def ask(**request):
        reply = await running.client.request(
            **{"method": "POST", "url": running.url, "headers": right, **request}
        )
        seen.add(matches(JOB, "post", reply))
        kinds.add(reply.headers["content-type"])

    for body in (b"json", b"text", b"bytes", b"400", b"500", b"504", b"x" * 101):
        await ask(content=body)
    await ask(headers={})
    await ask(method="GET")
    holding = asyncio.create_task(ask(content=b"hold"))
    await held.wait()
    await ask(content=b"bytes")
    await holding
    streaming = await start(stream)
    reply = await streaming.post()
    matches(JOB, "post", reply)
    kinds.add(reply.headers["content-type"].partition(";")[0])
    responses = DOCUMENT["paths"][JOB]["post"]["responses"]
    assert {str(status) for status in seen} == set(responses)
    assert kinds == set(responses["200"]["content"])


async def test_health_is_as_documented():
    @executor("idle")
    async def idle(body: bytes) -> bytes:
        return body

    app = ExecutorApp(idle)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://executor") as client:
        seen = {matches(HEALTH, "get", await client.get(HEALTH))}
        app.draining = True
        seen.add(matches(HEALTH, "get", await client.get(HEALTH)))
    assert {str(status) for status in seen} == set(DOCUMENT["paths"][HEALTH]["get"]["responses"])


async def test_the_registration_is_as_documented(start, orchestrator):
    @executor("echo", price=Price(1, 2, "eth"), description="text")
    async def echo(body: bytes) -> bytes:
        return body

    running = await start(echo, orchestrator=orchestrator.uri, secret=SECRET)
    ((path, headers, body),) = await orchestrator.heard(1)
    schemes = DOCUMENT["components"]["securitySchemes"]
    operation = DOCUMENT["paths"][path]["post"]
    (scheme,) = operation["security"][0]
    assert headers[schemes[scheme]["name"].lower()] == SECRET
    check(operation["requestBody"]["content"][headers["content-type"]]["schema"], json.loads(body))
    running.stopping.set()
    ((path, headers, body),) = await orchestrator.heard(1, "/capability/unregister")
    assert path in DOCUMENT["paths"]
    assert body == b"echo"


@pytest.mark.parametrize("path", list(DOCUMENT["paths"]))
def test_the_document_is_whole(path):
    for operation in DOCUMENT["paths"][path].values():
        if isinstance(operation, dict):
            assert operation["summary"]
            assert operation["responses"]
