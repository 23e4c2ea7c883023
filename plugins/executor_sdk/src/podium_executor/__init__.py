"""Turns an async function, or an ASGI application, into an executor of the network (BYOC).

A function takes one typed request and returns one typed reply, or yields the events of a stream::

    @executor("shout", capacity=4, price="0.00001 eth")
    async def shout(request: Request) -> Reply:
        return Reply(request.text.upper())

    run(shout, orchestrator="https://orchestrator:8935", secret=...)
"""

from podium_executor.errors import (
    BadRequest,
    ExecutorError,
    RegistrationFailed,
    RegistrationRefused,
    SetupError,
    Unavailable,
)
from podium_executor.executor import Call, Executor, JobReport, executor
from podium_executor.price import Price
from podium_executor.serve import run, serve
from podium_executor.settings import Settings

__all__ = [
    "BadRequest",
    "Call",
    "Executor",
    "ExecutorError",
    "JobReport",
    "Price",
    "RegistrationFailed",
    "RegistrationRefused",
    "Settings",
    "SetupError",
    "Unavailable",
    "executor",
    "run",
    "serve",
]
