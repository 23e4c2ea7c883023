"""The public port's faces, put together: which request is answered by what."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import frozen

from podium.stores.remote import Guard, RemoteStorage
from podium.stores.spool import SpoolBudget
from podium.web.ai import AiFace
from podium.web.bodies import Bodies
from podium.web.byoc import ByocFace, Replays
from podium.web.grpc import GrpcApp
from podium.web.results import ResultsFace
from podium.web.routes import PublicApp, public_app
from podium.web.segment import SegmentFaces
from podium.web.segment import Settings as SegmentSettings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from podium_hookspecs import Event

    from podium.config.settings import Settings
    from podium.pluginhost import PluginHost
    from podium.stores.objects import ObjectStore
    from podium.web.orchestrator import OrchestratorService
    from podium.workers.pool import WorkerPool

HASH_THREADS = 2


@frozen(kw_only=True)
class Faces:
    """What the faces stand on.

    Attributes:
        allowed_networks: Networks that are not public, yet may be connected for bodies.
        stack: Ends what they start.
        emit: Hears of jobs.
        stopping: Set when the port begins to close.
    """

    settings: Settings
    allowed_networks: tuple[str, ...]
    service: OrchestratorService
    host: PluginHost
    pool: WorkerPool
    objects: ObjectStore
    orchestrator_id: str
    stack: AsyncExitStack
    emit: Callable[[Event], None]
    stopping: asyncio.Event

    def public(self) -> PublicApp:
        """Return the public port's application."""
        storage = self.settings.storage
        bodies = Bodies(
            executor=self.stack.enter_context(ThreadPoolExecutor(HASH_THREADS, "podium-hash")),
            budget=SpoolBudget(storage.spool_limit_mb * 2**20),
            stall_timeout_s=self.settings.limits.body_stall_timeout_s,
            folder=storage.spool_dir,
        )
        segment = self._segment(bodies)
        return public_app(
            grpc=GrpcApp(unary=self.service.methods, stopping=self.stopping),
            segment=segment.segment,
            payment=segment.payment,
            results=ResultsFace(self.objects),
            ai=AiFace(self.service, lambda: self.host.pipelines, bodies, self.emit, time.monotonic),
            byoc=self._byoc(bodies),
            mounts=lambda: self.host.mounts,
        )

    def _byoc(self, bodies: Bodies) -> ByocFace:
        window_s = self.settings.limits.byoc_replay_window_s
        return ByocFace(
            service=self.service,
            pipelines=lambda: self.host.pipelines,
            pool=self.pool,
            bodies=bodies,
            on_event=self.emit,
            monotonic=time.monotonic,
            replays=Replays(window_s, time.monotonic) if window_s else None,
        )

    def _segment(self, bodies: Bodies) -> SegmentFaces:
        remote = RemoteStorage(Guard(self.allowed_networks))
        self.stack.push_async_callback(remote.close)
        return SegmentFaces(
            service=self.service,
            settings=SegmentSettings(
                limit_bytes=self.settings.limits.max_body_bytes,
                orchestrator_id=self.orchestrator_id,
            ),
            pipelines=lambda: self.host.pipelines,
            objects=self.objects,
            remote=remote,
            bodies=bodies,
            on_event=self.emit,
            monotonic=time.monotonic,
        )
