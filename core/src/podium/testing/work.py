"""Work for pipelines and workers under test: samples, bodies, jobs, meters."""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field, frozen
from podium_hookspecs import (
    BudgetExhausted,
    Chunk,
    HttpPipeline,
    HttpRequest,
    Job,
    Output,
    Pipeline,
    Requirements,
    Result,
    Units,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PIECE_BYTES = 2**20
SENDER = b"\x5e" * 20
_NUMBERS = itertools.count(1)


@define(eq=False)
class FileBody:
    """A body in a file without a name, as the host's are (``podium_hookspecs.Body``)."""

    _file: Any = field(repr=False)
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Hold bytes; ``close`` lets them go."""
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  the body's own to close
        file.write(data)
        return cls(file, len(data))

    def fileno(self) -> int:
        """Return the descriptor; its offset is anywhere."""
        descriptor: int = self._file.fileno()
        return descriptor

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes from their beginning."""
        offset = 0
        while piece := os.pread(self.fileno(), PIECE_BYTES, offset):
            offset += len(piece)
            yield piece

    def close(self) -> None:
        """Let the bytes go; safe to call twice."""
        self._file.close()


@frozen
class Sample:
    """One request for a pipeline under test.

    Attributes:
        body: What the peer sends.
        request: The typed request, where the pipeline is no ``HttpPipeline``.
        content_type: Of the body.
        parameters: Further parameters of the job (``HttpRequest.parameters``).
        path: What follows the pipeline's path.
        name: The capability's name, for BYOC.
        timeout_s: How long the job may take.
    """

    body: bytes = field(default=b"", repr=lambda body: f"<{len(body)} bytes>")
    request: Any = None
    content_type: str = "application/json"
    parameters: Mapping[str, Any] = field(factory=dict)
    path: str = ""
    name: str = ""
    timeout_s: float = 60.0

    async def parsed(self, pipeline: Pipeline, body: FileBody) -> Any:
        """Return what ``require``, ``estimate`` and ``run`` take.

        Raises:
            BadInput: the pipeline refuses it.
        """
        if not isinstance(pipeline, HttpPipeline):
            return self.request
        return await pipeline.parse(
            HttpRequest(
                self.path, self.content_type, body, self.name, self.timeout_s, self.parameters
            )
        )

    def job(self, pipeline: Pipeline, request: Any, needs: Requirements, body: FileBody) -> Job:
        """Make the job, as the host would."""
        number = next(_NUMBERS)
        return Job(
            id=f"job-{number}",
            session_id=f"session-{number}",
            sender=SENDER,
            pipeline=pipeline.name,
            capability=getattr(pipeline, "capability", 0),
            model=needs.model,
            timeout_s=self.timeout_s,
            request=request,
            body=body,
        )


@define(eq=False)
class CountingMeter:
    """A meter that remembers, and refuses past its budget (``podium_hookspecs.Meter``)."""

    unit: str
    budget: int | None = None
    added: list[Units] = field(factory=list)

    def add(self, units: Units) -> None:
        """Count; a unit other than the pipeline's raises ``ValueError``.

        Raises:
            BudgetExhausted: that was more than the budget.
        """
        total = self.total + units
        self.added.append(units)
        if self.budget is not None and total.amount > self.budget:
            raise BudgetExhausted(f"{total.amount} {self.unit}s, of {self.budget} covered")

    @property
    def total(self) -> Units:
        """What was metered so far."""
        return Units(sum(units.amount for units in self.added), self.unit)


@define(eq=False)
class Outcome:
    """What a run yielded, sorted out."""

    chunks: list[Chunk] = field(factory=list)
    results: list[Result] = field(factory=list)
    after_result: int = 0

    def take(self, output: Output) -> None:
        """Note one output."""
        self.after_result += bool(self.results)
        if isinstance(output, Result):
            self.results.append(output)
        else:
            assert isinstance(output, Chunk), f"{output!r} is neither a chunk nor a result"
            self.chunks.append(output)

    @property
    def data(self) -> bytes:
        """All chunks' bytes, one after another."""
        return b"".join(chunk.data for chunk in self.chunks)

    def assert_whole(self) -> None:
        """One result, and nothing after it."""
        assert len(self.results) == 1, f"{len(self.results)} results; there must be one, last"
        assert not self.after_result, "something came after the result"
