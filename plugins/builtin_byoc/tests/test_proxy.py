"""What comes back from containers of every kind, and what becomes of those that fail."""

import asyncio

import pytest

FAILED = "job not able to be processed, removing capability err="


@pytest.fixture
async def executor(world):
    await world.node(max_reply_mb=1, idle_timeout_s=20)
    container, url = await world.container(slow_s=0.3, step_s=0.05)
    assert (await world.register(url)).status_code == 200
    return container


@pytest.mark.parametrize(
    ("path", "status", "text", "content_type"),
    [
        ("meta", 200, '{"ok":true}', "application/json"),
        ("created", 200, '{"created":true}', "application/json"),
        ("redirect", 200, '{"ok":true}', "application/json"),
        ("err400", 400, '{"error":"container says 400"}\n', "text/plain; charset=utf-8"),
        ("err422", 422, '{"error":"container says 422"}\n', "text/plain; charset=utf-8"),
        ("err503", 503, '{"error":"container says 503"}\n', "text/plain; charset=utf-8"),
        ("err302", 200, '{"error":"container says 302"}', "application/json"),
    ],
)
async def test_statuses(world, executor, path, status, text, content_type):
    reply = await world.post(path)
    assert (reply.status_code, reply.text) == (status, text)
    assert reply.headers["content-type"] == content_type
    assert reply.headers["livepeer-balance"] == "0"
    assert reply.headers["x-metadata"] == ('{"model":"m1"}' if "ok" in text else "")
    assert await world.capacity() == 2


async def test_large_bodies_are_streamed(world, executor):
    body = bytes(range(256)) * 20_000
    reply = await world.post(content=body)
    assert reply.json()["length"] == len(body)
    assert executor.received[0].body == body
    assert executor.received[0].headers["content-length"] == str(len(body))
    reply = await world.post("redirect", content=body)
    assert [got.body == body for got in executor.received[1:]] == [True, True]


async def test_too_large_requests_are_refused(world, executor):
    reply = await world.post(content=bytes(64 * 2**20 + 1))
    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("huge", "the executor's reply has more than 1048576 bytes"),
        ("redirect-away", "the executor redirects to another place"),
    ],
)
async def test_replies_beyond_the_limits_fail(world, executor, path, reason):
    reply = await world.post(path)
    assert (reply.status_code, reply.text) == (500, f"{FAILED}{reason}\n")
    assert await world.capacity() == 2, "it stays"


async def test_a_time_limit_ends_the_wait(world, executor):
    reply = await world.post("hang", timeout=1)
    assert (reply.status_code, reply.text) == (500, f"{FAILED}no end within 1 s\n")
    async with asyncio.timeout(5):
        await executor.left.wait()
    assert await world.capacity() == 2, "it stays"


async def test_silence_inside_a_reply_ends_it(world):
    await world.node(idle_timeout_s=0.3)
    _, url = await world.container()
    await world.register(url)
    reply = await world.post("sse-idle")
    assert 'data: {"error": "the executor was silent for 0.3 s"}' in reply.text
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_an_executor_that_nobody_answers_at_is_removed(world):
    await world.node()
    container, url = await world.container()
    await world.register("http://127.0.0.1:9")
    reply = await world.post()
    assert reply.status_code == 500
    assert reply.text.startswith(f"{FAILED}executor unreachable")
    assert (await world.post()).status_code == 503
    await world.register("http://127.0.0.1:9", capacity=5)
    await world.register(url, capacity=1)
    assert (await world.post()).status_code == 200, "another of the name takes the job"
    assert await world.capacity() == 1
    assert len(container.received) == 1


async def test_an_executor_that_refuses_our_token_is_removed(world):
    await world.node()
    _, url = await world.container(tokens={"Bearer other"})
    await world.register(url, token="mine")
    reply = await world.post()
    assert (reply.status_code, reply.text) == (500, f"{FAILED}worker auth token failed\n")
    assert (await world.post()).status_code == 503


async def test_what_an_executor_began_is_not_begun_again(world):
    await world.node()
    first, url = await world.container()
    second, other = await world.container()
    await world.register(url, capacity=1)
    await world.register(other, capacity=1)
    reply = await world.post("broken")
    assert reply.status_code == 500
    assert len(first.received) + len(second.received) == 1


async def test_health_checks_take_an_executor_out_and_back_in(world):
    await world.node(health_interval_s=0.1)
    container, url = await world.container()
    await world.register(url, health_path="/health")

    await world.until(2)
    container.healthy = False
    await world.until(0)
    assert (await world.post()).status_code == 503
    container.healthy = True
    await world.until(2)
    assert (await world.post()).status_code == 200


async def test_a_declared_executor_is_looked_for_again(world, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    await world.node(executors=[{"name": "cap", "url": url}])
    assert (await world.post()).status_code == 500
    assert await world.capacity() == 0
    await world.container(unused_tcp_port)
    await world.until(1)
    assert (await world.post()).status_code == 200


async def test_events_pass_line_by_line(world, executor):
    reply = await world.post("sse")
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["livepeer-payment-balance"] == "0"
    assert reply.headers["x-metadata"] == "stream"
    events = "".join(f'data: {{"n":{n}}}\n\n' for n in range(4))
    end = 'data: {"balance": 0.000}\n\n\ndata: [DONE]\n\n'
    assert reply.text == events + end
    assert (await world.post("sse-nodone")).text == events + end


async def test_a_line_may_be_long_but_not_endless(world, executor):
    reply = await world.post("sse-line")
    assert "line has more than 1048576 bytes" in reply.text
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_a_client_that_leaves_a_stream_ends_it(world, executor):
    request = world.post("sse-idle")
    running = asyncio.create_task(request)
    await executor.began.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(10):
        await executor.left.wait()
    await world.until(2)


async def test_a_worker_cancels_a_job(world, executor):
    running = asyncio.create_task(world.post("hang"))
    await executor.began.wait()
    (state,) = [s for s in world.app.pool.states() if s[0].name.startswith("byoc:")]
    worker = state[0]
    (job_id,) = worker._jobs
    await worker.cancel(job_id)
    await worker.cancel("unknown")
    reply = await running
    assert (reply.status_code, reply.text) == (500, f"{FAILED}cancelled\n")


async def test_a_closed_kept_connection_is_no_failure(world):
    """A container that closes each connection after its answer, without saying so beforehand."""
    await world.node()
    answered = 0

    async def serve(reader, writer):
        nonlocal answered
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        answered += 1
        await reader.read(1)  # the next request begins, and is cut
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await world.register(f"http://127.0.0.1:{port}")
        for _ in range(5):
            assert (await world.post()).text == "ok"
    assert answered == 5
