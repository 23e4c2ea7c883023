"""What a runner is: a running copy of the ai-runner HTTP API, with one model of one pipeline."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, frozen
from podium_hookspecs import Device, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU = "cpu"
NO_CAPACITY = "insufficient capacity"
"""Gateways match this text, and go on to the next orchestrator (ai 2.5)."""


class Key(NamedTuple):
    """What a runner serves."""

    pipeline: str
    model: str

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.model}"


@frozen
class Endpoint:
    """A runner's HTTP API, as a job's call sees it.

    Attributes:
        url: Base URL, without a trailing slash.
        token: Sent as a bearer token; None for none.
        version: What the runner says of itself, ``x.y.z``.
        hardware: GPUs the runner reports; none without one.
        warm: The runner was there before the job.
    """

    url: str
    token: Secret | None = None
    version: str = "0.0.0"
    hardware: tuple[Device, ...] = ()
    warm: bool = False


@frozen
class RunnerInfo:
    """A runner that is ready for jobs.

    Attributes:
        version: ``x.y.z``; ``0.0.0`` when it does not say.
        warm: It is kept, jobs or not.
        hardware: GPUs it reports.
    """

    version: str
    warm: bool
    hardware: tuple[Device, ...] = ()


@frozen
class Limits:
    """What a runner may take of the machine; 0 is no limit.

    Attributes:
        memory_mb: Memory with swap, MiB; 0 leaves a container nine tenths of the machine's. For a
            process it bounds the address space, which GPU libraries take far more of.
        pids: Processes and threads (containers only).
        cpus: Processors' worth of time (containers only).
        shm_mb: Shared memory, MiB; 0 is the engine's own default (containers only).
    """

    memory_mb: int = 0
    pids: int = 0
    cpus: float = 0.0
    shm_mb: int = 0


@frozen
class Hardening:
    """What a container may not do.

    Attributes:
        read_only_root: Its own files; ``tmpfs`` stays writable.
        drop_capabilities: All of root's powers.
        no_new_privileges: No set-user-id programs.
        read_only_models: The mounted model folder.
        user: ``uid`` or ``uid:gid`` it runs as; empty: as its image says.
        tmpfs: Folders in memory that it may write to.
        network: An engine's network to join. One without a way out is reached by the container's
            address; empty: the default bridge, published on loopback.
    """

    read_only_root: bool = True
    drop_capabilities: bool = True
    no_new_privileges: bool = True
    read_only_models: bool = True
    user: str = ""
    tmpfs: tuple[str, ...] = ("/tmp",)
    network: str = ""


@frozen
class RunnerSpec:
    """All that is needed to start a runner.

    Attributes:
        key: What it serves.
        capability: The pipeline's network number.
        slot: Name of its place.
        executor: ``docker``, ``process`` or ``external``.
        api: What it speaks: ``runner`` (ai 5) or ``openai``.
        image: For containers.
        command: Program and arguments for processes; arguments appended to a container's own.
        url: Base URL of an external service.
        environment: Optimization flags and the like, as the runner's environment.
        token: Bearer token that the runner asks for; None: it asks for none.
        models_dir: Folder on the host with the models; empty: none is given.
        device: Where it runs; a device of id ``cpu`` asks for no GPU.
        limits: What it may take.
        hardening: What it may not do.
        start_timeout_s: From its start to its first answer, and from LOADING to a good one.
    """

    key: Key
    capability: int
    slot: str
    executor: str
    api: str = "runner"
    image: str = ""
    command: tuple[str, ...] = ()
    url: str = ""
    environment: Mapping[str, str] = field(factory=dict)
    token: Secret | None = None
    models_dir: str = ""
    device: Device = field(factory=lambda: Device(CPU))
    limits: Limits = field(factory=Limits)
    hardening: Hardening = field(factory=Hardening)
    start_timeout_s: float = 180.0

    @property
    def gpu(self) -> str:
        """The GPU's id, or empty."""
        return "" if self.device.id == CPU else self.device.id

    @property
    def told(self) -> dict[str, str]:
        """The environment that every runner gets, however it is started (ai 5.1)."""
        token = {"AUTH_TOKEN": self.token.reveal} if self.token else {}
        own = {"PIPELINE": self.key.pipeline, "MODEL_ID": self.key.model}
        return {**self.environment, **own, **token}


@frozen
class Timings:
    """How long things may take, seconds.

    Attributes:
        watch_s: Between two looks at a runner's health.
        poll_s: Between two looks at one that starts.
        probe_s: For one answer of ``/health`` and the like.
        loading_s: How long one that was ready may say LOADING until it counts as failing.
        failures: Bad looks in a row until a runner is replaced.
        retry_first_s: From a failed start to the next try; doubles with each failure.
        retry_most_s: Longest such wait.
        stop_s: For a runner to end by itself once told to.
        lasting_s: A runner that lives so long started well; an earlier end counts as a failure.
    """

    watch_s: float = 5.0
    poll_s: float = 0.5
    probe_s: float = 5.0
    loading_s: float = 180.0
    failures: int = 2
    retry_first_s: float = 2.0
    retry_most_s: float = 120.0
    stop_s: float = 8.0
    lasting_s: float = 60.0


@frozen
class Ended:
    """Why a runner is no more.

    Attributes:
        reason: For the operator.
        out_of_memory: It hit its memory limit: the same job would do it again.
    """

    reason: str
    out_of_memory: bool = False


@frozen
class Progress:
    """How far an image has come over the network.

    Attributes:
        image: Its name.
        layers_done: Layers that are here.
        layers: Layers known so far.
        bytes_done: Bytes that are here.
        bytes_total: Bytes known so far.
    """

    image: str
    layers_done: int = 0
    layers: int = 0
    bytes_done: int = 0
    bytes_total: int = 0

    @property
    def percent(self) -> int:
        """0 to 100, of the bytes known so far."""
        return 100 * self.bytes_done // self.bytes_total if self.bytes_total else 0


class SlotState(Enum):
    """What a slot is doing."""

    EMPTY = "empty"
    PULLING = "pulling"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ok"
    BUSY = "busy"
    STOPPING = "stopping"
    FAILING = "failing"
    DOWN = "down"


@frozen
class SlotStatus:
    """One slot, for operators.

    Attributes:
        slot: Its name.
        executor: ``docker``, ``process`` or ``external``.
        device: GPU id, or ``cpu``.
        state: What it is doing.
        pipeline: Of the runner that is there or starts; empty without.
        model: The same.
        warm: The model is pinned here.
        image: What it runs: image, command or URL.
        progress: Of a pull, else None.
        jobs: Running now.
        failures: Failed starts in a row of what it tries to run.
        reason: Why it is failing or down.
        log_tail: The end of the log of the last runner that failed.
        since_s: Unix time of the last change.
    """

    slot: str
    executor: str
    device: str
    state: SlotState
    pipeline: str = ""
    model: str = ""
    warm: bool = False
    image: str = ""
    progress: Progress | None = None
    jobs: int = 0
    failures: int = 0
    reason: str = ""
    log_tail: str = ""
    since_s: float = 0.0
