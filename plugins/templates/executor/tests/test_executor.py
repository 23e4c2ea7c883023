"""The handlers by themselves, and over HTTP."""

import pytest
from podium_executor import BadRequest
from podium_executor.testing import client_of

from podium_executor_example.executor import Reply, Request, main, stream


async def test_it_does_its_work():
    assert await main(Request("hello", 2)) == Reply("HELLO HELLO")
    with pytest.raises(BadRequest):
        await main(Request(" "))


async def test_it_answers_over_http():
    async with client_of(main) as client:
        reply = await client.post("/", json={"text": "hello"})
        assert (reply.status_code, reply.json()) == (200, {"text": "HELLO"})
        assert (await client.post("/", json={"text": 1})).status_code == 400


async def test_it_streams():
    async with client_of(stream) as client:
        reply = await client.post("/", json={"text": "a b"})
    events = ['data: {"text": "A"}', 'data: {"text": "B"}', "data: [DONE]"]
    assert reply.text.split("\n\n") == [*events, ""]
