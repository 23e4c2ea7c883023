"""A worker: where a job runs.

A worker is a slot-limited place: child processes of this node, containers, a
GPU, an HTTP service, another machine, a Ray cluster. The host leases slots,
keeps sessions on the worker that has them, and never looks inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from podium_hookspecs.job import Job, Output
    from podium_hookspecs.pipeline import Offer, Requirements


@frozen
class Device:
    """A piece of hardware behind a worker.

    Attributes:
        id: As the driver names it (a GPU's index or UUID); ``"cpu"`` for the processor.
        name: For people.
        memory_total_bytes: 0 when unknown.
        memory_free_bytes: At start; 0 when unknown.
        slots: Jobs this device runs at a time (the encoder's session limit, for example).
        compute: Compute capability, ``major.minor``; empty when unknown.

    .. versionchanged:: 1.2
       ``compute``.
    """

    id: str
    name: str = ""
    memory_total_bytes: int = 0
    memory_free_bytes: int = 0
    slots: int = 1
    compute: str = ""


@frozen
class Hardware:
    """What runs one model of one pipeline, for the network's hardware list.

    Attributes:
        pipeline: The pipeline's name.
        model: Model identifier.
        devices: Where it runs; none for the processor alone.

    .. versionadded:: 1.2
    """

    pipeline: str
    model: str
    devices: tuple[Device, ...] = ()


# Converters of one type each: a type checker cannot see through a bare ``frozenset``.
def _texts(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


def _numbers(values: Iterable[int]) -> frozenset[int]:
    return frozenset(values)


def _devices(values: Iterable[Device]) -> tuple[Device, ...]:
    return tuple(values)


def _offers(values: Iterable[Offer]) -> tuple[Offer, ...]:
    return tuple(values)


@frozen
class Resources:
    """What a worker has.

    It never changes during the worker's life, but for ``slots``: a worker whose resources change
    otherwise closes, and a new one takes its place. A worker whose slots have changed reports its
    health anew; jobs that run keep theirs.

    Attributes:
        pipelines: Names of the pipelines whose jobs it runs.
        capabilities: Network numbers of what it can do.
        models: Models it can serve; empty when models mean nothing to it.
        slots: Jobs it runs at a time, over all its devices.
        devices: Its hardware.
        version: Version of the program that does the work, ``x.y.z`` or empty.
        offers: Which model under which capability, where a worker serves several of both: a job
            then needs an offer of its capability and model. Empty: any pair of the above.

    .. versionchanged:: 1.2
       ``offers``; ``slots`` may change.
    """

    pipelines: frozenset[str] = field(converter=_texts)
    capabilities: frozenset[int] = field(converter=_numbers, factory=frozenset)
    models: frozenset[str] = field(converter=_texts, factory=frozenset)
    slots: int = field(default=1, validator=validators.ge(0))
    devices: tuple[Device, ...] = field(converter=_devices, factory=tuple)
    version: str = ""
    offers: tuple[Offer, ...] = field(converter=_offers, factory=tuple)


class WorkerState(Enum):
    """How a worker is."""

    STARTING = "starting"
    OK = "ok"
    DEGRADED = "degraded"
    """It works, but worse than it should; it gets jobs when no better worker is free."""
    DOWN = "down"
    """No jobs; what it advertises is withdrawn."""


@frozen
class Health:
    """One report of a worker's state, with a reason that an operator can act on."""

    state: WorkerState
    reason: str = ""


class Worker(ABC):
    """Where jobs run. Every method may be called from one event loop only."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Unique among the workers of a node, stable over restarts."""

    @property
    @abstractmethod
    def resources(self) -> Resources:
        """What it has; the same at every call, but for the number of slots."""

    @abstractmethod
    async def start(self) -> None:
        """Take resources, check that the work can be done.

        The host bounds it to 60 s. A worker that needs longer (to load a model, say) returns
        early and reports ``STARTING`` by ``health`` until the first job may come.

        Raises:
            PluginError: the worker cannot work; it is reported as down with that reason.
        """

    @abstractmethod
    def health(self) -> AsyncIterator[Health]:
        """Yield the current state at once, then every change, until ``close``."""

    @abstractmethod
    def run(self, job: Job) -> AsyncIterator[Output]:
        """Run one job; yield chunks as they are ready, then exactly one result.

        Closing the iterator cancels the job and frees its slot before it returns.

        Raises:
            BadInput: the input cannot be worked on.
            Busy: no slot is free (the host leases, so this is a race at most).
            WorkerLost: the place is gone; the host may run the job elsewhere.
            JobFailed: anything else that stopped the job.
        """

    @abstractmethod
    async def cancel(self, job_id: str) -> None:
        """Stop a job within 2 s and free its slot; an unknown job is no error."""

    @abstractmethod
    async def close(self) -> None:
        """Stop everything and free all resources; safe to call twice.

        The host waits 20 s for it.
        """

    async def recover(self) -> Sequence[str]:
        """Find what an earlier life of this node left behind (containers, remote jobs).

        Called once before ``start``. Clean up, or adopt. It is not called for a worker that takes
        the place of one which still runs, when a plugin is given other options while the node runs.

        Returns:
            The ids of jobs that still run and were adopted.
        """
        return ()

    async def end_session(self, session_id: str) -> None:
        """Drop what was kept for a session (a device's encoder, a warm cache)."""
        del session_id

    def readiness(self, needs: Requirements) -> int:
        """Say how soon a job could begin here: 0 at once, more the later.

        Among workers with a free slot the host takes the one that is readiest: the one that
        holds the model before an empty one, an empty one before one that must drop another's.
        Called for each such job on the event loop: no I/O.

        .. versionadded:: 1.2
        """
        del needs
        return 0

    def hardware(self) -> Sequence[Hardware]:
        """Name what runs which model now, for the network's hardware list.

        .. versionadded:: 1.2
        """
        return ()
