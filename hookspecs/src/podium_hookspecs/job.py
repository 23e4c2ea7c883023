"""A job: one paid piece of work, from the host to a pipeline to a worker and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podium_hookspecs.money import Units


class Body(Protocol):
    """The bytes a job works on, held once by the host.

    A body backed by a file hands its descriptor to a child process, which reads
    it without the host copying it; one that still arrives is iterated.
    """

    @property
    def size_bytes(self) -> int | None:
        """How many bytes there are; None while they still arrive."""

    def fileno(self) -> int:
        """A readable, seekable descriptor of the whole body.

        The host owns and closes it; duplicate it to keep it beyond the job.

        Raises:
            OSError: this body is not backed by a file; iterate it instead.
        """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body from its beginning, in pieces of at most 1 MiB."""


@frozen
class Job:
    """One piece of work. Frozen: what changes over its life is the host's business.

    Attributes:
        id: Unique over restarts of the node; safe in paths and logs.
        session_id: The session it belongs to; jobs of one session run in order of arrival.
        sender: The gateway's 20-byte address (zeros off chain).
        pipeline: Name of the pipeline it is for.
        capability: The capability's network number.
        model: Model identifier, or None.
        timeout_s: Seconds the whole run may take; the host cancels it then.
        request: The pipeline's own typed request, e.g. ``TranscodeRequest``.
        body: Input bytes, or None.
        attributes: Further labels for workers: ``orchestrator_id``, ``version``, ...
    """

    id: str
    session_id: str
    sender: bytes
    pipeline: str
    capability: int
    model: str | None
    timeout_s: float
    request: Any
    body: Body | None = field(default=None, repr=False, eq=False)
    attributes: Mapping[str, str] = field(factory=dict)


@frozen
class Chunk:
    """A piece of a job's output.

    A rendition is one chunk; a streamed reply is many with the same ``index``.

    Attributes:
        data: The bytes.
        index: Which output it belongs to, from 0 (the rendition's place among the profiles).
        kind: What the bytes are: ``"body"``, ``"video"``, ``"signature"``, ``"event"``, ...
        content_type: MIME type.
        units: Units of work that this chunk accounts for; metered before it is sent on.
        attributes: Labels of this chunk (``frames``, ``width``, ...).
    """

    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")
    index: int = 0
    kind: str = "body"
    content_type: str = "application/octet-stream"
    units: int = 0
    attributes: Mapping[str, str] = field(factory=dict)


@frozen
class Result:
    """The last thing a run yields: its summary.

    Attributes:
        units: All units of the run, those of its chunks included.
        attributes: Facts for the job's log line, such as ``decoded_pixels``.
    """

    units: int
    attributes: Mapping[str, str] = field(factory=dict)


Output = Chunk | Result
"""What ``Pipeline.run`` and ``Worker.run`` yield: any number of chunks, then one result."""


class Meter(Protocol):
    """Counts a job's work and takes its price from the sender's balance.

    The host gives a pipeline its meter. Meter first, then yield: work that was
    not metered is work that was given away.
    """

    def add(self, units: Units) -> None:
        """Debit ``units`` at the session's frozen price.

        Raises:
            BudgetExhausted: the balance does not cover them, for jobs that are billed as they
                run (by the second). Jobs that were covered beforehand may overdraw.
        """

    @property
    def total(self) -> Units:
        """What was metered so far."""
