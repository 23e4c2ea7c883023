"""The admin port's routes, over HTTP."""

import httpx
import pytest
from podium.web.admin import make_admin_app
from podium_hookspecs import Mount


async def mounted(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
def get():
    state = {"ready": (True, "")}

    async def request(path, method="GET", render=lambda: b"page\n"):
        mounts = [
            Mount("/metrics", mounted, surface="admin"),
            Mount("/extra", mounted, surface="admin"),
            Mount("/public", mounted),
        ]
        app = make_admin_app(render, lambda: state["ready"], lambda: mounts)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path)

    request.state = state
    return request


async def test_metrics_have_the_references_content_type(get):
    reply = await get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.content == b"page\n"
    assert (await get("/metrics", render=None)).status_code == 404


async def test_ready_follows_the_node_and_health_does_not(get):
    assert (await get("/readyz")).status_code == 200
    get.state["ready"] = (False, "draining")
    reply = await get("/readyz")
    assert (reply.status_code, reply.text) == (503, "draining\n")
    assert (await get("/healthz")).status_code == 200


async def test_other_paths_and_methods_are_refused(get):
    assert (await get("/")).status_code == 404
    reply = await get("/metrics", "POST")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
    reply = await get("/healthz", "HEAD")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == "3"


async def test_only_admin_mounts_are_served_here(get):
    assert (await get("/extra/page")).text == "/extra/page"
    assert (await get("/extra")).text == "/extra"
    assert (await get("/extras")).status_code == 404
    assert (await get("/public")).status_code == 404
