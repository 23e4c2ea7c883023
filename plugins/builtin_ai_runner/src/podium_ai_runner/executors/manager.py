"""All runners of a node: makes the workers, shows their state, does what operators ask."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import BadInput, Busy, Device, Offer, PluginError, Resources, Secret

from podium_ai_runner.executors.devices import find_gpus, find_places
from podium_ai_runner.executors.docker.engine import Engine
from podium_ai_runner.executors.docker.images import Images, image_for
from podium_ai_runner.executors.docker.launcher import LIFE_LABEL, DockerLauncher
from podium_ai_runner.executors.external import ExternalLauncher
from podium_ai_runner.executors.guard import Guard
from podium_ai_runner.executors.process import ProcessLauncher
from podium_ai_runner.executors.settings import (
    DOCKER,
    EXTERNAL,
    PROCESS,
    assign,
    merged,
    names_of_external,
    places_needed,
)
from podium_ai_runner.executors.slot import RunnerSlot
from podium_ai_runner.executors.telemetry import Telemetry
from podium_ai_runner.executors.values import (
    CPU,
    NO_CAPACITY,
    RunnerSpec,
    SlotState,
    SlotStatus,
)
from podium_ai_runner.worker import RunnerWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from podium_hookspecs import PluginContext

    from podium_ai_runner.executors.launcher import Launcher
    from podium_ai_runner.executors.settings import ExecutorSettings, ModelEntry
    from podium_ai_runner.executors.values import Key, Progress
    from podium_ai_runner.worker import Call

TOKEN_BYTES = 24


@define(eq=False)
class Executors:
    """The runners of a node.

    Attributes:
        workers: One for each place, and one for each external service.
    """

    _settings: ExecutorSettings
    _context: PluginContext
    _call: Call
    _guard: Guard
    _launchers: Mapping[str, Launcher]
    _telemetry: Telemetry
    workers: tuple[RunnerWorker, ...] = field(default=(), init=False)
    _open: int = field(default=0, init=False)

    @classmethod
    def of(
        cls,
        settings: ExecutorSettings,
        entries: Sequence[ModelEntry],
        context: PluginContext,
        call: Call,
        gpus: Sequence[Device] | None = None,
    ) -> Executors:
        """Make the workers; nothing is started yet.

        Args:
            settings: How runners are started.
            entries: What is served.
            context: The plugin's.
            call: Hands a job to a runner.
            gpus: The machine's; None: ask the driver.

        Raises:
            ConfigError: that cannot work on this machine.
        """
        telemetry = Telemetry.of(context.log, context.metrics)
        models = merged(entries)
        creator, life = creator_of(context.state_dir), uuid.uuid4().hex
        engine = Engine.at(settings.engine)
        guard = Guard(context, engine.socket, f"{LIFE_LABEL}={life}")
        images = Images(engine, telemetry, pull=settings.pull)
        stop_s = settings.timings.stop_s
        launchers: dict[str, Launcher] = {
            DOCKER: DockerLauncher(engine, images, guard, creator, life, stop_s),
            PROCESS: ProcessLauncher(context.state_dir, guard, stop_s),
            EXTERNAL: ExternalLauncher(),
        }
        made = cls(settings, context, call, guard, launchers, telemetry)
        places = find_places(
            settings.gpus,
            find_gpus() if gpus is None else gpus,
            settings.runners_per_gpu,
            settings.cpu_slots or places_needed(models),
        )
        made.workers = (
            *(
                made._worker(part.place.name, part.place.device, part.entries, pinned=part.pinned)
                for part in assign(models, places)
            ),
            *(
                made._worker(name, Device(CPU), (entry,), pinned=True)
                for name, entry in names_of_external(models)
            ),
        )
        made._open = len(made.workers)
        return made

    def _worker(
        self, name: str, device: Device, entries: tuple[ModelEntry, ...], *, pinned: bool
    ) -> RunnerWorker:
        specs = {entry.key: self._spec(name, device, entry) for entry in entries}
        external = entries[0].executor == EXTERNAL
        slot = RunnerSlot(
            name,
            specs,
            {kind: self._launchers[kind] for kind in {entry.executor for entry in entries}},
            self._settings.timings if not external else self._settings.external_timings,
            self._telemetry,
            self._changed,
            entries[0].key if pinned else None,
        )
        resources = Resources(
            pipelines={key.pipeline for key in specs},
            capabilities={entry.capability for entry in entries},
            models={key.model for key in specs},
            slots=entries[0].capacity if external else 1,
            devices=() if device.id == CPU else (device,),
            offers=[Offer(entry.capability, entry.key.model, warm=pinned) for entry in entries],
        )
        return RunnerWorker(resources, slot, self._call, self._closed_one)

    def _spec(self, name: str, device: Device, entry: ModelEntry) -> RunnerSpec:
        settings = self._settings
        docker, external = entry.executor == DOCKER, entry.executor == EXTERNAL
        flags = {"VERBOSE_LOGGING": "1"} if settings.verbose else {}
        timeout_s = (
            settings.start_timeout_external_s
            if external
            else settings.start_timeout_flags_s
            if entry.environment
            else settings.start_timeout_s
        )
        made = Secret(secrets.token_urlsafe(TOKEN_BYTES)) if settings.tokens else None
        return RunnerSpec(
            key=entry.key,
            capability=entry.capability,
            slot=name,
            executor=entry.executor,
            api=entry.api,
            image=image_for(entry, settings) if docker else "",
            command=entry.command if docker else entry.command or settings.command,
            url=entry.url,
            environment={**flags, **entry.environment},
            token=entry.token if external else made,
            models_dir=settings.models_dir and str(Path(settings.models_dir).absolute()),
            device=device,
            limits=settings.limits,
            hardening=settings.hardening,
            start_timeout_s=timeout_s,
        )

    def _changed(self) -> None:
        self._telemetry.states(self.status())
        self._context.changed()

    async def _closed_one(self) -> None:
        """Let the launcher go with the last worker."""
        self._open -= 1
        if self._open == 0:
            clean = [await launcher.close() for launcher in self._launchers.values()]
            await self._guard.close(clean=all(clean))

    # --- for operators

    def status(self) -> tuple[SlotStatus, ...]:
        """Show every slot."""
        return tuple(status_of(worker) for worker in self.workers)

    async def prefetch(self) -> None:
        """Fetch the images that are not here yet; a failure is only logged (ai 3.2)."""
        specs = {spec.image: spec for w in self.workers for spec in w.slot.specs.values()}
        for image in filter(None, specs):
            try:
                await self._launchers[DOCKER].fetch(specs[image], self._telemetry.pulling)
            except PluginError as error:
                self._telemetry.log.warning("image not here", image=image, reason=str(error))

    async def pull(self, key: Key, report: Callable[[Progress], None] | None = None) -> str:
        """Fetch a model's image; return its name.

        Args:
            key: The model.
            report: Told how far it is.

        Raises:
            BadInput: no such model.
            StartFailed: it is nowhere to be had.
        """
        worker = self._serving(key)[0]
        spec = worker.slot.specs[key]
        await worker.slot.launchers[spec.executor].fetch(spec, report or self._telemetry.pulling)
        return spec.image

    def warm(self, key: Key) -> str:
        """Begin to start a runner where it suits best; return the slot's name.

        Raises:
            BadInput: no such model.
            Busy: every place for it is at work.
        """
        for worker in sorted(self._serving(key), key=lambda w: w.slot.held is not None):
            if worker.slot.warm(key):
                return worker.name
        raise Busy(f"every place for {key} is at work", public=NO_CAPACITY)

    async def evict(self, slot: str) -> None:
        """End a slot's runner; a warm model's is started again.

        Raises:
            BadInput: no such slot.
            Busy: it is at work.
        """
        for worker in self.workers:
            if worker.name == slot:
                await worker.slot.evict()
                return
        raise BadInput(f"there is no slot {slot}")

    def _serving(self, key: Key) -> list[RunnerWorker]:
        found = [worker for worker in self.workers if key in worker.slot.specs]
        if not found:
            raise BadInput(f"{key} is not among the models of this node")
        return found


def status_of(worker: RunnerWorker) -> SlotStatus:
    """Show one slot."""
    slot = worker.slot
    key = slot.held.spec.key if slot.held else slot.target or slot.pinned
    spec = slot.specs[key] if key else None
    backoff = slot.backoffs[key] if key else None
    busy = slot.state is SlotState.READY and slot.jobs
    return SlotStatus(
        slot=slot.name,
        executor=spec.executor if spec else "",
        device=next(iter(slot.specs.values())).device.id,
        state=SlotState.BUSY if busy else slot.state,
        pipeline=key.pipeline if key else "",
        model=key.model if key else "",
        warm=slot.pinned is not None,
        image=(spec.image or spec.url or " ".join(spec.command)) if spec else "",
        progress=slot.progress,
        jobs=slot.jobs,
        failures=backoff.failures if backoff else 0,
        reason="; ".join(slot.down.values()) or (backoff.reason if backoff else ""),
        log_tail=slot.log_tail,
        since_s=slot.since_s,
    )


def creator_of(state_dir: Path) -> str:
    """Return this node's mark on what it starts: made once, kept with its data."""
    path = state_dir / "creator"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        state_dir.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex
        path.write_text(mark)
        return mark
