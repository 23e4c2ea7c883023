"""Request bodies, bounded in bytes and in seconds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, NoReturn

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from podium_runner_cpu.errors import InvalidBody, InvalidFields, RequestTimeout, TooLarge
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
    limited = _limited(request, limits.json_bytes)
    try:
        async with asyncio.timeout(limits.body_s):
            body = await limited.body()
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.") from error
    except TooLarge:
        await _drain(request)
        raise
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        detail: dict[str, object] = {
            "loc": ["body", at],
            "msg": "JSON decode error",
            "type": "json_invalid",
        }
        raise InvalidFields([detail]) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


async def read_form(request: Request, limits: Limits) -> dict[str, object]:
    """Read a form with one file at most.

    Raises:
        TooLarge: the file, or the whole form, has more bytes than accepted.
        RequestTimeout: it did not arrive in time.
        InvalidBody: it is malformed.
    """
    limited = _limited(request, limits.file_bytes + FORM_OVERHEAD_BYTES)
    try:
        async with asyncio.timeout(limits.body_s):
            async with limited.form(max_files=1, max_fields=MAX_PARTS) as form:
                return {name: await _part(value, limits) for name, value in form.items()}
    except TimeoutError as error:
        raise RequestTimeout("The body did not arrive in time.") from error
    except HTTPException as error:
        raise InvalidBody(error.detail) from error
    except TooLarge:
        await _drain(request)
        raise


async def _part(value: UploadFile | str, limits: Limits) -> object:
    if isinstance(value, str):
        return value
    if (value.size or 0) > limits.file_bytes:
        raise _too_large(limits.file_bytes)
    return Upload(value.filename or "", await value.read())


def _limited(request: Request, max_bytes: int) -> Request:
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > max_bytes:
            raise _too_large(max_bytes)
        return message

    return Request(request.scope, receive)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"File size exceeds the limit of {max_bytes // 1024 // 1024} MiB.")


async def _drain(request: Request) -> None:
    """Read on for a while: a client that is still writing would not see our reply."""
    seen = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while seen < DRAIN_BYTES:
                message = await _next(request.receive)
                if message is None:
                    return
                seen += len(message.get("body", b""))
    except (TimeoutError, ClientDisconnect):
        return


async def _next(receive: Receive) -> Message | None:
    message = await receive()
    more = message["type"] == "http.request" and message.get("more_body", False)
    return message if more else None
