"""The executor: a typed request, a typed reply, a price."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import field, frozen, validators
from podium_executor import BadRequest, executor


@frozen
class Request:
    """What clients send, as JSON."""

    text: str
    times: int = field(default=1, validator=[validators.ge(1), validators.le(100)])


@frozen
class Reply:
    """What they get back."""

    text: str


@executor("executor-example", capacity=4, price="0.00001 eth")
async def main(request: Request) -> Reply:
    """Do the work; the request was checked already."""
    if not request.text.strip():
        raise BadRequest("there is nothing to say")
    return Reply(" ".join([request.text.upper()] * request.times))


@executor("executor-example-stream", capacity=4, price="0.00001 eth")
async def stream(request: Request) -> AsyncIterator[Reply]:
    """Do it piece by piece: each is a server-sent event."""
    for word in request.text.upper().split() * request.times:
        yield Reply(word)
