"""For tests of executors: a client that needs no port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from podium_executor.app import ExecutorApp

if TYPE_CHECKING:
    from podium_executor.executor import Executor


def client_of(executor: Executor, token: str = "") -> httpx.AsyncClient:
    """Return a client whose requests go straight to an executor.

    Args:
        executor: What to ask.
        token: What callers must show.
    """
    transport = httpx.ASGITransport(ExecutorApp(executor, token))
    return httpx.AsyncClient(transport=transport, base_url="http://executor")
