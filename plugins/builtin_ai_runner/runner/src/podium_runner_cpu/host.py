"""The model's own thread: loading, one request at a time, a bounded queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

from attrs import define, field

from podium_runner_cpu.errors import Busy, ModelUnavailable, NotReady, RunnerError

if TYPE_CHECKING:
    from podium_runner_cpu.pipelines.base import Pipeline

T = TypeVar("T")
State = Literal["LOADING", "OK", "ERROR"]

log = logging.getLogger(__name__)


class PipelineFailure(RunnerError):
    """The model failed; status and text follow the kind of the exception.

    Attributes:
        status: the HTTP status.
    """

    code = "pipeline"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc] # the one error whose status varies


def failure(pipeline: Pipeline, error: Exception) -> PipelineFailure:
    """Say how a model's exception is told to the caller.

    Torch has several classes for memory that ran out, all of one name.
    """
    if type(error).__name__ == "OutOfMemoryError":
        return PipelineFailure(pipeline.oom_text, 500)
    if isinstance(error, MemoryError):
        return PipelineFailure("Out of memory.", 500)
    refused = isinstance(error, ValueError)
    return PipelineFailure(pipeline.error_text, pipeline.refusal_status if refused else 500)


@define
class ModelHost:
    """Runs a pipeline's blocking methods on one thread.

    Attributes:
        pipeline: whose model it is.
        state: as ``/health`` says it.
        admitted: requests that wait or run.
    """

    pipeline: Pipeline
    state: State = "LOADING"
    admitted: int = 0
    _turn: asyncio.Lock = field(factory=asyncio.Lock)
    _thread: ThreadPoolExecutor = field(
        factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
    )

    async def load(self) -> None:
        """Load the model; the state says how that ended.

        Raises:
            ModelUnavailable: loading failed; the log says why.
        """
        try:
            await self._on_thread(self.pipeline.load)
        except Exception as error:
            self.state = "ERROR"
            known = isinstance(error, RunnerError)
            log.error("the model cannot be loaded: %s", error, exc_info=None if known else error)
            raise ModelUnavailable(str(error)) from error
        self.state = "OK"

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Hold a place in the queue, from before the body is read until the reply is made.

        Raises:
            NotReady: the model is not loaded.
            Busy: the queue is full.
        """
        if self.state != "OK":
            loading = self.state == "LOADING"
            raise NotReady("The model is loading." if loading else "The model is not available.")
        if self.admitted >= self.pipeline.settings.limits.waiting:
            raise Busy("Too many requests are waiting.")
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the model, and hold it."""
        async with self._turn:
            yield

    async def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Run blocking work on the model's thread.

        Raises:
            RunnerError: what is wrong with the request, or with the model.
        """
        try:
            return await self._on_thread(work, *arguments)
        except RunnerError:
            raise
        except Exception as error:
            log.exception("the pipeline failed")
            raise failure(self.pipeline, error) from error

    async def iterate(self, items: Iterator[T]) -> AsyncIterator[T]:
        """Step through a blocking iterator on the model's thread.

        Raises:
            RunnerError: as `call` does.
        """
        while (item := await self.call(next, items, None)) is not None:
            yield item

    def close(self) -> None:
        """Drop what waits, and end the model's child processes."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.pipeline.close()

    async def _on_thread(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)
