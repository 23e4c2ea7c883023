"""What the operator says about runners, as the executors need it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen, validators
from podium_hookspecs import ConfigError, Secret

from podium_ai_runner.executors.values import Hardening, Key, Limits, Timings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from podium_ai_runner.executors.devices import Place

DOCKER, PROCESS, EXTERNAL = "docker", "process", "external"
EXECUTORS = (DOCKER, PROCESS, EXTERNAL)


@frozen
class ModelEntry:
    """One model that this node serves.

    Attributes:
        key: Pipeline and model.
        capability: The pipeline's network number.
        executor: ``docker``, ``process`` or ``external``.
        warm: Keep ``capacity`` runners of it, jobs or not.
        capacity: Runners that are kept, or jobs at a time of an external service.
        url: Base URL of an external service.
        token: Its bearer token.
        api: What it speaks: ``runner`` (ai 5) or ``openai``.
        environment: Optimization flags, as environment variables.
        image: Container image; empty: by the pipeline.
        command: Program of a process, or arguments for a container; empty: the general one.
    """

    key: Key
    capability: int
    executor: str = field(default=DOCKER, validator=validators.in_(EXECUTORS))
    warm: bool = False
    capacity: int = field(default=1, validator=validators.ge(1))
    url: str = ""
    token: Secret | None = None
    api: str = "runner"
    environment: Mapping[str, str] = field(factory=dict)
    image: str = ""
    command: tuple[str, ...] = ()


@frozen
class ExecutorSettings:
    """How runners are started, for all models.

    Attributes:
        models_dir: Folder on this machine with the models; empty: runners get none.
        gpus: ``("auto",)``, ``("none",)`` or GPU indexes.
        runners_per_gpu: Places on each GPU.
        cpu_slots: Places where there is no GPU; 0: as many as warm models need, and one more if
            others are served.
        command: Program and arguments of a process.
        image: Image of pipelines that have none of their own; empty: the network's.
        image_by_pipeline: Overrides of single pipelines.
        engine: Address of the container engine; empty: ``DOCKER_HOST``, or its usual socket.
        pull: Fetch images that are not here.
        tokens: Make every runner we start ask for a token of its own.
        verbose: Have runners log more.
        start_timeout_s: From a runner's start to its first good answer.
        start_timeout_flags_s: The same with optimization flags: they compile first.
        start_timeout_external_s: The same for external services.
        limits: What each runner may take.
        hardening: What each container may not do.
        timings: How long other things may take.
        external_timings: The same for external services; looking again costs nothing there.
    """

    models_dir: str = ""
    gpus: tuple[str, ...] = ("auto",)
    runners_per_gpu: int = field(default=1, validator=validators.ge(1))
    cpu_slots: int = field(default=0, validator=validators.ge(0))
    command: tuple[str, ...] = ()
    image: str = ""
    image_by_pipeline: Mapping[str, str] = field(factory=dict)
    engine: str = ""
    pull: bool = True
    tokens: bool = True
    verbose: bool = False
    start_timeout_s: float = 180.0
    start_timeout_flags_s: float = 300.0
    start_timeout_external_s: float = 120.0
    limits: Limits = field(factory=lambda: Limits(pids=4096))
    hardening: Hardening = field(factory=Hardening)
    timings: Timings = field(factory=Timings)
    external_timings: Timings = field(factory=lambda: Timings(retry_most_s=10.0))


@frozen
class Assignment:
    """What one place is for.

    Attributes:
        place: Where.
        entries: What may run there.
        pinned: It is kept there; ``entries`` is then just one.
    """

    place: Place
    entries: tuple[ModelEntry, ...]
    pinned: bool = False


def merged(entries: Iterable[ModelEntry]) -> tuple[ModelEntry, ...]:
    """Add up the capacities of entries of the same model (ai 3.2).

    Raises:
        ConfigError: one says warm and the other not, or they differ otherwise.
    """
    found: dict[tuple[Key, str, str], ModelEntry] = {}
    for entry in entries:
        which = (entry.key, entry.executor, entry.url)
        known = found.get(which)
        if known is not None and evolve(known, capacity=1) != evolve(entry, capacity=1):
            msg = f"plugins.ai.models: {entry.key} is there twice, and not the same"
            raise ConfigError(msg)
        more = known.capacity if known else 0
        found[which] = evolve(entry, capacity=entry.capacity + more)
    return tuple(found.values())


def places_needed(entries: Sequence[ModelEntry]) -> int:
    """Return how many places warm models take, and one more where there are others."""
    managed = _managed(entries)
    warm = sum(entry.capacity for entry in managed if entry.warm)
    return warm + any(not entry.warm for entry in managed)


def assign(entries: Sequence[ModelEntry], places: Sequence[Place]) -> tuple[Assignment, ...]:
    """Give each warm model its places, and the others to whatever is wanted.

    Raises:
        ConfigError: there are not enough places.
    """
    managed = _managed(entries)
    if not managed:
        return ()
    pinned = [entry for entry in managed if entry.warm for _ in range(entry.capacity)]
    cold = tuple(entry for entry in managed if not entry.warm)
    if len(pinned) + bool(cold) > len(places):
        msg = (
            f"plugins.ai.models: {len(places)} places for runners, but warm models take "
            f"{len(pinned)}" + (" and the others need one" if cold else "")
        )
        raise ConfigError(msg)
    kept = [
        Assignment(place, (entry,), pinned=True)
        for place, entry in zip(places, pinned, strict=False)
    ]
    free = [Assignment(place, cold) for place in places[len(pinned) :]] if cold else []
    return (*kept, *free)


def _managed(entries: Sequence[ModelEntry]) -> list[ModelEntry]:
    return [entry for entry in entries if entry.executor != EXTERNAL]


def names_of_external(entries: Iterable[ModelEntry]) -> list[tuple[str, ModelEntry]]:
    """Name the external services, uniquely and stably."""
    counts: Counter[str] = Counter()
    named = []
    for entry in entries:
        if entry.executor == EXTERNAL:
            name = f"external-{entry.key.pipeline}-{entry.key.model.replace('/', '-')}"
            counts[name] += 1
            named.append((name if counts[name] == 1 else f"{name}-{counts[name]}", entry))
    return named
