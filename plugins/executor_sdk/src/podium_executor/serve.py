"""A running executor: it listens, registers, works, and leaves in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from podium_executor.app import ExecutorApp
from podium_executor.errors import RegistrationFailed, SetupError
from podium_executor.registration import Registrar
from podium_executor.settings import Settings, renamed, settings_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from podium_executor.executor import Executor

log = logging.getLogger("podium_executor")
ENDED = "the application ended by itself; its log says why"
ANYWHERE = {"0.0.0.0", "::", ""}


class _Server(uvicorn.Server):
    """Leaves signals to us, so that leaving the orchestrator comes before closing the door."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise SetupError(ENDED) from error


async def serve(
    executor: Executor,
    settings: Settings,
    stopping: asyncio.Event,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until told to stop; then unregister, finish what runs, and return.

    Args:
        executor: What to serve.
        settings: Where, and whom to register with.
        stopping: Set it to stop.
        started: Told the executor's own address, once it listens.

    Raises:
        RegistrationRefused: the orchestrator does not want it.
        SetupError: the port is taken, or a setting cannot work.
    """
    app = ExecutorApp(executor, settings.token)
    listening = _listen(settings)
    port = listening.getsockname()[1]
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="auto" if executor.is_asgi else "off",
            ws="none",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        )
    )
    serving = asyncio.create_task(server.serve([listening]))
    host = "127.0.0.1" if settings.host in ANYWHERE else settings.host
    url = settings.url or f"http://{host}:{port}"
    started(url)
    try:
        await _registered(executor, settings, url, serving, stopping, app)
    finally:
        app.draining = server.should_exit = True
        try:
            await serving
        finally:
            listening.close()  # the server does, if it came to its start
    if not stopping.is_set():
        raise SetupError(ENDED)


async def _registered(
    executor: Executor,
    settings: Settings,
    url: str,
    serving: asyncio.Task[None],
    stopping: asyncio.Event,
    app: ExecutorApp,
) -> None:
    """Be registered until told to stop."""
    asked = asyncio.create_task(stopping.wait())
    waiting: set[asyncio.Task[Any]] = {asked, serving}
    if not settings.orchestrator:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        return
    registrar, registered = Registrar(executor, settings, url), asyncio.Event()
    keeping = asyncio.create_task(registrar.keep(registered))
    try:
        while not (stopping.is_set() or serving.done()):
            waiting = {asked, serving} | (set() if keeping.done() else {keeping})
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
    finally:
        for task in (asked, keeping):
            task.cancel()
        await asyncio.gather(asked, keeping, return_exceptions=True)
        app.draining = True
        if registered.is_set():
            try:
                await registrar.unregister()
            except RegistrationFailed as error:
                log.warning("not unregistered: %s", error)
        await registrar.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        where = f"{settings.host}:{settings.port}"
        raise SetupError(f"cannot listen on {where}: {error.strerror}") from error
    return listening


def run(
    executor: Executor,
    *,
    orchestrator: str | None = None,
    secret: str | None = None,
    **more: Any,
) -> None:
    """Serve until SIGTERM or SIGINT; what is not given comes from the environment.

    Args:
        executor: What to serve.
        orchestrator: URI to register with; ``ORCH_URL``.
        secret: The orchestrator's secret; ``ORCH_SECRET``.
        more: Further fields of :class:`Settings`.

    Raises:
        RegistrationRefused: the orchestrator does not want it.
        SetupError: something is missing or cannot be.
    """
    settings = settings_from(os.environ, orchestrator=orchestrator, secret=secret, **more)
    serve_until_signalled(renamed(executor, os.environ), settings)


def serve_until_signalled(executor: Executor, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, whatever the environment says.

    Raises:
        RegistrationRefused: the orchestrator does not want it.
        SetupError: the port is taken, or a setting cannot work.
    """
    asyncio.run(_until_signalled(executor, settings))


async def _until_signalled(executor: Executor, settings: Settings) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(executor, settings, stopping, lambda url: log.info("listening on %s", url))
