"""Errors as replies, and the bearer token."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from podium_runner_cpu.errors import InvalidFields, RunnerError, Unauthorized, WrongModel

if TYPE_CHECKING:
    from starlette.requests import Request

    from podium_runner_cpu.pipelines.base import Pipeline


def error_reply(request: Request, error: Exception) -> JSONResponse:
    """Return the reply to an error of ours."""
    assert isinstance(error, RunnerError)
    detail: object = {"msg": error.message}
    if isinstance(error, InvalidFields):
        detail = error.details
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
    return JSONResponse({"detail": detail}, error.status, headers)


def http_reply(request: Request, error: Exception) -> JSONResponse:
    """Return the reply to what the router refuses: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def authorize(request: Request, token: str, text: str) -> None:
    """Compare the bearer token in constant time.

    Raises:
        Unauthorized: it is missing or wrong.
    """
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    if token and not (right and scheme.lower() == "bearer"):
        raise Unauthorized(text)


def own_model(pipeline: Pipeline, given: object) -> None:
    """Refuse a request for another model; an empty name asks for any.

    Raises:
        WrongModel: it is another one.
    """
    own = pipeline.settings.model_id
    if given not in ("", own):
        raise WrongModel(f"pipeline configured with {own} but called with {str(given)[:200]}.")
