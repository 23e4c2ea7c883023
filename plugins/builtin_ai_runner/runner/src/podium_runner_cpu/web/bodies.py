"""Request bodies, bounded in bytes and in seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from attrs import define
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from podium_runner_cpu.errors import (
    Busy,
    ClientGone,
    InvalidBody,
    InvalidFields,
    RequestTimeout,
    TooLarge,
)
from podium_runner_cpu.fields import Upload

if TYPE_CHECKING:
    from starlette.types import Message, Receive

    from podium_runner_cpu.settings import Limits

FORM_OVERHEAD_BYTES = 1024 * 1024
MAX_PARTS = 32
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 5.0


async def read_json(request: Request, limits: Limits) -> object:
    """Read and decode a JSON body.

    Raises:
        TooLarge: it has more bytes than accepted.
        RequestTimeout: it did not arrive in time.
        InvalidFields: it is no JSON.
    """
    async with _bounded(request, limits.json_bytes, limits.body_s) as bounded:
        body = await bounded.body()
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        detail: dict[str, object] = {"loc": ["body", at], "msg": "JSON decode error"}
        raise InvalidFields([detail | {"type": "json_invalid"}]) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


async def read_form(request: Request, limits: Limits) -> dict[str, object]:
    """Read a form with one file at most.

    Raises:
        TooLarge: the file, or the whole form, has more bytes than accepted.
        RequestTimeout: it did not arrive in time.
        InvalidBody: it is malformed.
    """
    max_bytes = limits.file_bytes + FORM_OVERHEAD_BYTES
    try:
        async with (
            _bounded(request, max_bytes, limits.body_s) as bounded,
            bounded.form(max_files=1, max_fields=MAX_PARTS) as form,
        ):
            return {name: await _part(value, limits) for name, value in form.items()}
    except HTTPException as error:
        raise InvalidBody(error.detail) from error


async def _part(value: UploadFile | str, limits: Limits) -> object:
    if isinstance(value, str):
        return value
    if (value.size or 0) > limits.file_bytes:
        raise _too_large(limits.file_bytes)
    return Upload(value.filename or "", await value.read())


@asynccontextmanager
async def _bounded(request: Request, max_bytes: int, max_s: float) -> AsyncIterator[Request]:
    """Bound the bytes and the seconds of a request's body."""
    body = Body(request.receive, max_bytes)
    try:
        async with asyncio.timeout(max_s):
            yield Request(request.scope, body.receive)
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.") from error
    except ClientDisconnect as error:
        raise ClientGone("The client left.") from error
    except OSError as error:  # a full /tmp, where forms are kept until they are whole
        raise Busy("There is no room for the request's body.") from error
    except TooLarge:
        await body.drain()
        raise


@define
class Body:
    """A body on its way in, counted."""

    source: Receive
    max_bytes: int
    seen_bytes: int = 0
    ended: bool = False

    async def receive(self) -> Message:
        """Receive the next piece.

        Raises:
            TooLarge: there were more bytes than accepted.
        """
        message = await self._next()
        if self.seen_bytes > self.max_bytes:
            raise _too_large(self.max_bytes)
        return message

    async def drain(self) -> None:
        """Read on for a while: a client that is still writing would not see our reply."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self.ended and self.seen_bytes < self.max_bytes + DRAIN_BYTES:
                    await self._next()

    async def _next(self) -> Message:
        message = await self.source()
        self.seen_bytes += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        return message


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"File size exceeds the limit of {max_bytes // 1024 // 1024} MiB.")
