"""A pipeline: what work is, how much of it there is, and how a job is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from podium_hookspecs.job import Job, Meter, Output
    from podium_hookspecs.money import Units
    from podium_hookspecs.worker import Worker

CAPABILITY_NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        "transcode": 0,
        "text-to-image": 27,
        "image-to-image": 28,
        "image-to-video": 29,
        "upscale": 30,
        "audio-to-text": 31,
        "segment-anything-2": 32,
        "llm": 33,
        "image-to-text": 34,
        "live-video-to-video": 35,
        "text-to-speech": 36,
        "byoc": 37,
    }
)
"""Network numbers of the kinds of work that are priced, by their pipelines' names.

Video is priced under 0, whatever its codecs. Source: go-livepeer core/capabilities.go.

.. versionadded:: 1.2
"""


@frozen
class Offer:
    """One line of what the node advertises.

    Attributes:
        capability: Network number (wire-video 8.1).
        model: Model identifier; None advertises the bare capability.
        warm: The model is loaded and answers at once.
        capacity: Jobs at a time; 0 while it is full and says so.
        in_use: Jobs running now.
        runner_version: Version of what runs the model, ``x.y.z`` or empty.
        name: The constraint text where a capability has names rather than models (BYOC).
    """

    capability: int = field(validator=validators.ge(0))
    model: str | None = None
    warm: bool = False
    capacity: int = field(default=1, validator=validators.ge(0))
    in_use: int = 0
    runner_version: str = ""
    name: str = ""


def _numbers(values: Iterable[int]) -> frozenset[int]:
    return frozenset(values)


@frozen
class Requirements:
    """What a job needs of the worker that runs it.

    Attributes:
        capabilities: The worker must have all of these.
        model: The worker must serve this model.
        min_version: The worker's version must be at least this, ``x.y.z`` or empty.
        cost: Relative load, to balance workers and devices; for video, pixels per second.
        sticky: Keep the session on the worker that served it last, while it can.
        slots: Slots that one job takes.
        wait_s: Longest wait for a free slot, then ``Busy``; None: as long as the job may take.

    .. versionchanged:: 1.2
       ``wait_s``.
    """

    capabilities: frozenset[int] = field(converter=_numbers, factory=frozenset)
    model: str | None = None
    min_version: str = ""
    cost: int = 0
    sticky: bool = True
    slots: int = 1
    wait_s: float | None = None


class Pipeline(ABC):
    """What work is. The host admits, takes payment and reserves a worker; the pipeline works.

    The synchronous methods run on the event loop for every request: no I/O, and
    well under a millisecond.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Unique among the pipelines of a node: ``"transcode"``, ``"text-to-image"``."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """What it counts: ``"pixel"``, ``"second"``, ``"token"``."""

    @abstractmethod
    def offers(self, workers: Sequence[Worker]) -> tuple[Offer, ...]:
        """What the node may advertise, given the workers that are up now.

        Without workers for it a pipeline offers nothing.
        """

    @abstractmethod
    def require(self, request: Any) -> Requirements:
        """Check a request before anything is reserved or paid for, and say what it needs.

        Raises:
            BadInput: the request is wrong.
            Unsupported: it asks for something this pipeline does not do.
        """

    @abstractmethod
    def estimate(self, request: Any) -> Units:
        """How many units the job will probably need: what the balance should cover."""

    @abstractmethod
    def run(self, job: Job, worker: Worker, meter: Meter) -> AsyncIterator[Output]:
        """Do the job on a leased worker.

        Meter the units of each chunk before yielding it; yield one ``Result`` last.
        Closing the iterator cancels the job; the host waits 5 s for that. It runs in a task of its
        own, and the result is passed on when it has ended.

        Raises:
            PluginError: see ``Worker.run``; units metered so far stay billed.
        """

    async def start(self) -> None:  # noqa: B027  an optional step, not a forgotten abstract one
        """Called once, before the first job; the host waits 60 s."""

    async def close(self) -> None:  # noqa: B027
        """Called once, after the last job; the host waits 10 s."""
