"""Runners for operators: what there is, and pull, warm and evict, on the admin port.

Requests that change something must say that they are JSON: a page in the operator's browser
cannot say so to another site without asking first.
"""

from __future__ import annotations

import asyncio
import json
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from attrs import asdict, frozen
from podium_hookspecs import BadInput, Busy, PluginError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from podium_ai_runner.executors.values import Key, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from podium_ai_runner.models import Catalog

PATH = "/ai"
MAX_REQUEST_BYTES = 64 * 2**10


class Runners(Protocol):
    """The executors, as far as operators reach them."""

    def status(self) -> Sequence[Any]:
        """Return every slot, as attrs values."""

    async def pull(self, key: Key, report: Callable[[Progress], None] | None = None) -> str:
        """Fetch what a model's runner is made of; return its name."""

    def warm(self, key: Key) -> str:
        """Begin to load a model; return the slot's name."""

    async def evict(self, slot: str) -> None:
        """End a slot's runner."""


class _Wrong(Exception):
    """A request that cannot be taken; its text is shown."""


@frozen
class Admin:
    """The routes.

    Args:
        runners: What they show and change.
        catalog: The models that the node serves.
    """

    runners: Runners
    catalog: Catalog

    def routes(self) -> Router:
        """Return the ASGI application."""
        change = ["POST"]
        return Router(
            [
                Route("/status", self._status, methods=["GET"]),
                Route("/pull", self._pull, methods=change),
                Route("/warm", _guarded(self._warm), methods=change),
                Route("/evict", _guarded(self._evict), methods=change),
            ]
        )

    async def _status(self, request: Request) -> Response:
        del request
        models = [
            {
                "pipeline": model.pipeline.name,
                "model": model.name,
                "executor": model.executor,
                "warm": model.warm,
                "capacity": model.capacity,
            }
            for model in self.catalog.models
        ]
        slots = [asdict(slot, value_serializer=_plain) for slot in self.runners.status()]
        return JSONResponse({"models": models, "slots": slots})

    async def _pull(self, request: Request) -> Response:
        """Answer line by line: how far it is, then what came of it."""
        try:
            key = _key(await _asked(request))
        except (_Wrong, KeyError) as error:
            return _failed(400, error)
        return StreamingResponse(self._pulling(key), media_type="application/x-ndjson")

    async def _pulling(self, key: Key) -> AsyncIterator[str]:
        steps: asyncio.Queue[Progress | None] = asyncio.Queue()
        task = asyncio.create_task(self.runners.pull(key, steps.put_nowait))
        task.add_done_callback(lambda _: steps.put_nowait(None))
        try:
            percent = -1
            while (step := await steps.get()) is not None:
                if step.percent != percent:
                    percent = step.percent
                    yield _line(image=step.image, percent=percent)
            yield _line(done=await task)
        except PluginError as error:
            yield _line(error=str(error))
        finally:
            task.cancel()

    async def _warm(self, asked: dict[str, str]) -> dict[str, str]:
        return {"slot": self.runners.warm(_key(asked))}

    async def _evict(self, asked: dict[str, str]) -> dict[str, str]:
        await self.runners.evict(asked["slot"])
        return {"slot": asked["slot"]}


def _key(asked: dict[str, str]) -> Key:
    return Key(asked["pipeline"], asked["model"])


def _line(**facts: object) -> str:
    return json.dumps(facts) + "\n"


def _plain(instance: object, attribute: object, value: object) -> object:
    del instance, attribute
    return value.value if isinstance(value, Enum) else value


def _guarded(
    change: Callable[[dict[str, str]], Awaitable[dict[str, str]]],
) -> Callable[[Request], Awaitable[Response]]:
    """Read the request, make the change, and say what came of it."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await change(await _asked(request)))
        except _Wrong as error:
            return _failed(400, error)
        except KeyError as error:
            return _failed(400, f"{error.args[0]} is missing")
        except BadInput as error:
            return _failed(404, error)
        except Busy as error:
            return _failed(409, error)
        except PluginError as error:
            return _failed(502, error)

    return answer


def _failed(status: int, error: object) -> Response:
    return JSONResponse({"error": str(error)}, status)


async def _asked(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _Wrong("the content type must be application/json")
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_REQUEST_BYTES:
            raise _Wrong("the request is too large")
    try:
        asked = json.loads(raw)
    except (ValueError, RecursionError):
        raise _Wrong("the request is no JSON") from None
    if not isinstance(asked, dict) or not all(isinstance(v, str) for v in asked.values()):
        raise _Wrong("the request must be an object of texts")
    return asked
