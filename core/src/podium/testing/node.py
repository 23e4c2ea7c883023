"""A node for tests: the real one, on the loopback interface, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from podium.assembly import Overrides
    from podium.node import Node

TEST_KEY = "6d79" * 16
"""A throwaway private key for nodes under test."""

START_TIMEOUT_S = 30.0


def node_document(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration document: free loopback ports, a key, and ``config`` over it.

    None takes one of ours away: ``{"account": {"private_key": None}}`` is a node off chain.
    """
    ours: dict[str, Any] = {
        "node": {
            "data_dir": str(folder),
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "log_level": "error",
            "startup_check": False,
        },
        "account": {"private_key": TEST_KEY},
    }
    for section, values in config.items():
        mine = {**ours.get(section, {}), **values}
        ours[section] = {key: value for key, value in mine.items() if value is not None}
    return ours


@define(eq=False)
class PodiumApp:
    """A running node. Its parts belong to its own loop: use ``call`` to reach them.

    Attributes:
        node: The node; read what does not change, ``call`` everything else.
        uri: Where gateways reach it.
        admin_uri: Its admin port.
    """

    _settings: dict[str, Any]
    _overrides: Overrides | None = None
    node: Node = field(init=False)
    _thread: threading.Thread = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _stop: asyncio.Event = field(init=False)
    _started: threading.Event = field(factory=threading.Event)
    _error: BaseException | None = None

    @classmethod
    def start(cls, settings: dict[str, Any], overrides: Overrides | None = None) -> Self:
        """Start it and wait until it serves.

        Raises:
            PodiumError: why it did not start.
        """
        app = cls(settings, overrides)
        app._thread = threading.Thread(target=app._main, name="podium-under-test", daemon=True)
        app._thread.start()
        if not app._started.wait(START_TIMEOUT_S):
            raise TimeoutError(f"the node did not start within {START_TIMEOUT_S} s")
        if app._error is not None:
            raise app._error
        return app

    @property
    def uri(self) -> str:
        """Service URI."""
        return self.node.service_uri

    @property
    def admin_uri(self) -> str:
        """URI of the admin port."""
        return f"http://127.0.0.1:{self.node.admin.port}"

    def call(self, function: Any, *args: Any) -> Any:
        """Call a function, or await a coroutine function, on the node's loop; return its result."""

        async def there() -> Any:
            result = function(*args)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop it at once; stopping twice is fine."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(START_TIMEOUT_S)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            from podium.app import running
            from podium.config.load import parse_settings

            async with running(parse_settings(self._settings), self._overrides) as node:
                self.node = node
                self._started.set()
                await self._stop.wait()
        except BaseException as error:
            if self._started.is_set():
                raise
            self._error = error
            self._started.set()
