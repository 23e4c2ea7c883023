"""Who may register what, and what is kept of it."""

import asyncio
import json
import stat

import pytest

NO = "No capacity available for capability\n"


async def test_an_executor_registers_works_and_leaves(world):
    await world.node()
    container, url = await world.container()
    reply = await world.register(url)
    assert (reply.status_code, reply.text) == (200, "ok")
    assert reply.headers["content-type"] == "application/json"
    reply = await world.post("a b/c?x=1", headers={"X-Own": "1"})
    assert reply.json() == {"path": "/a b/c", "method": "POST", "length": 16}
    (got,) = container.received
    assert got.headers == {
        "host": url.removeprefix("http://"),
        "user-agent": "podium",
        "content-type": "application/json",
        "content-length": "16",
    }
    assert got.body == b'{"text":"hello"}'
    reply = await world.unregister()
    assert (reply.status_code, reply.text) == (200, "ok")
    assert (await world.unregister("never there")).status_code == 200
    reply = await world.post()
    assert (reply.status_code, reply.text) == (503, NO)


@pytest.mark.parametrize("secret", ["wrong", "Bearer s3cret", "", None])
async def test_only_the_secret_comes_in(world, secret):
    await world.node()
    reply = await world.register("http://127.0.0.1:9", secret=secret)
    assert (reply.status_code, reply.text) == (400, "invalid authorization\n")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert await world.capacity() == 0


async def test_without_a_secret_nobody_registers(world):
    await world.node(open_to_all=False)
    for secret in ("", None, "s3cret"):
        assert (await world.register("http://127.0.0.1:9", secret=secret)).status_code == 400


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"raw": "{"}, "invalid JSON"),
        ({"raw": ""}, "unexpected end of JSON input"),
        ({"raw": "[]"}, "no JSON object"),
        ({"name": ""}, "name is empty"),
        ({"name": "a\nb"}, "characters"),
        ({"url": ""}, "url is not an http or https address"),
        ({"url": "ftp://127.0.0.1"}, "url is not"),
        ({"url": "http://127.0.0.1:0"}, "url is not"),
        ({"url": "http://127.0.0.1?x"}, "query"),
        ({"url": "http://a:b@127.0.0.1"}, "user"),
        ({"capacity": -1}, "capacity is not a whole number from 0"),
        ({"capacity": True}, "capacity is not"),
        ({"capacity": 10**9}, "capacity is more than"),
        ({"price_per_unit": 1.5}, "price_per_unit is not a whole number from 0"),
        ({"price_per_unit": 2**63}, "price_per_unit is not"),
        ({"price_scaling": -1}, "price_scaling is not"),
        ({"currency": "USD"}, "no price is known for the currency usd"),
        ({"health_path": "health"}, "health_path is no path"),
        ({"token": "a\r\nX: y"}, "characters"),
    ],
)
async def test_what_cannot_work_is_refused(world, fields, text):
    await world.node()
    reply = await world.register(**{"url": "http://127.0.0.1:9", **fields})
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/json"
    assert reply.text.startswith("Error registering capability: ")
    assert text in reply.text


async def test_too_much_is_refused(world):
    await world.node()
    reply = await world.register("http://127.0.0.1:9", raw="x" * 100_000)
    assert (reply.status_code, reply.text) == (400, "Error reading request body\n")


@pytest.mark.parametrize("path", ["register", "unregister"])
async def test_other_methods_and_paths(world, path):
    await world.node()
    reply = await world.http.get(f"/capability/{path}")
    assert (reply.status_code, reply.text) == (405, "Method not allowed\n")
    assert (await world.http.post(f"/capability/{path}/more")).status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.1", "[::1]", "169.254.1.1"])
async def test_private_addresses_are_refused_where_the_operator_says_so(world, host):
    await world.node(allow_private=False)
    reply = await world.register(f"http://{host}:9")
    assert reply.status_code == 400
    assert "private network" in reply.text or "cannot be found" in reply.text
    assert await world.capacity() == 0


async def test_declared_executors_may_be_private_always(world):
    container, url = await world.container()
    await world.node(allow_private=False, executors=[{"name": "cap", "url": url}])
    assert (await world.post()).status_code == 200
    assert container.received[0].path == "/echo"


async def test_registering_again_keeps_count_of_running_jobs(world):
    await world.node()
    container, url = await world.container(slow_s=1)
    await world.register(url, capacity=1)
    running = asyncio.create_task(world.post("slow"))
    await container.began.wait()
    assert await world.capacity() == 0
    await world.register(url, capacity=1)
    assert await world.capacity() == 0
    assert (await world.post()).status_code == 503
    await world.register(url, capacity=3)
    assert await world.capacity() == 2
    await world.register(url, capacity=0)
    assert await world.capacity() == 0
    assert (await running).status_code == 200
    await world.register(url, capacity=3)
    assert await world.capacity() == 3


async def test_an_executor_that_comes_back_while_it_leaves_keeps_count(world):
    await world.node()
    container, url = await world.container(slow_s=1)
    await world.register(url, capacity=2)
    running = asyncio.create_task(world.post("slow"))
    await container.began.wait()
    await world.unregister()
    assert (await world.post()).status_code == 503
    await world.register(url, capacity=2)
    assert await world.capacity() == 1
    assert (await running).status_code == 200, "what runs is finished"
    assert await world.capacity() == 2


async def test_several_executors_of_a_name_share_its_jobs(world):
    await world.node()
    pool = [await world.container(slow_s=0.5) for _ in range(3)]
    for _, url in pool:
        await world.register(url, capacity=2)
    assert await world.capacity() == 6
    replies = await asyncio.gather(*(world.post("slow") for _ in range(7)))
    assert sorted(reply.status_code for reply in replies) == [200] * 6 + [503]
    assert [container.most for container, _ in pool] == [2, 2, 2]
    await world.unregister(f"cap\n{pool[0][1]}")
    assert await world.capacity() == 4


async def test_registrations_outlive_a_restart(world):
    await world.node()
    container, url = await world.container(tokens={"Bearer t0ken"})
    await world.register(url, capacity=3, token="t0ken", price_per_unit=5, price_scaling=2)
    (kept,) = (world.folder / "node").rglob("executors.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    await world.stop()
    await world.node()
    assert await world.capacity() == 3
    assert (await world.post()).status_code == 200
    assert container.received[0].headers["authorization"] == "Bearer t0ken"
    await world.unregister()
    await world.stop()
    await world.node()
    assert await world.capacity() == 0


@pytest.mark.parametrize("text", ["{", '{"version": 2, "executors": []}', "[]", "{}"])
async def test_a_broken_file_does_not_stop_the_node(world, text):
    await world.node()
    _, url = await world.container()
    await world.register(url)
    (kept,) = (world.folder / "node").rglob("executors.json")
    await world.stop()
    kept.write_text(text)
    await world.node()
    assert await world.capacity() == 0
    await world.register(url)
    assert json.loads(kept.read_text())["executors"][0]["url"] == url


async def test_declared_executors_need_not_register(world):
    _, url = await world.container()
    await world.node(executors=[{"name": "cap", "url": f"{url}/v1/", "capacity": 2, "price": 3}])
    assert (await world.post()).json()["path"] == "/v1/echo"
    await world.unregister()
    assert await world.capacity() == 2, "the configuration has it"
    assert (await world.register(f"{url}/v1")).status_code == 400


async def test_an_executor_that_falls_silent_is_removed(world):
    await world.node(heartbeat_s=0.4)
    _, url = await world.container()
    await world.register(url)
    assert await world.capacity() == 2
    await world.until(0)
    await world.register(url)
    assert await world.capacity() == 2
