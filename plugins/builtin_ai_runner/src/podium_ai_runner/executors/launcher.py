"""How runners come to be: the same few steps for containers, processes and services."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from podium_hookspecs import WorkerLost

from podium_ai_runner.executors.values import NO_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_ai_runner.executors.values import Ended, Progress, RunnerSpec


class StartFailed(WorkerLost):
    """No runner could be started; the peer is told to try elsewhere.

    Args:
        message: For the operator.
        log_tail: The end of what the runner wrote, if it wrote anything.
    """

    code: ClassVar[str] = "runner_start_failed"

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message, public=NO_CAPACITY)
        self.log_tail = log_tail

    def again(self) -> StartFailed:
        """Return the same error for one more of those who waited."""
        return StartFailed(str(self), self.log_tail)


class ExecutorDown(StartFailed):
    """Nothing at all can be started now: the engine does not answer, say. No model's fault."""

    code: ClassVar[str] = "executor_down"

    def again(self) -> ExecutorDown:
        """See ``StartFailed``."""
        return ExecutorDown(str(self), self.log_tail)


class Runner(Protocol):
    """A started runner. Every method is bounded in time and safe to call again."""

    @property
    def url(self) -> str:
        """Base URL, without a trailing slash."""

    async def ended(self) -> Ended | None:
        """Say why it ended; None while it runs, or when that cannot be told now."""

    async def logs(self) -> str:
        """Return the end of what it wrote; empty when that cannot be had."""

    async def stop(self) -> None:
        """End it and remove what it leaves; what fails now is done later by ``Launcher.sweep``."""


class Launcher(Protocol):
    """Starts runners. One serves all slots of its kind."""

    @property
    def kind(self) -> str:
        """``docker``, ``process`` or ``external``."""

    @property
    def restarts(self) -> bool:
        """A runner that died can be started again; else somebody else has to see to it."""

    async def check(self) -> None:
        """See whether runners can be started at all.

        Raises:
            ExecutorDown: not now.
        """

    async def sweep(self) -> int:
        """End what earlier lives of this node, or failed stops of this one, have left.

        Returns:
            How many runners were ended.

        Raises:
            ExecutorDown: that cannot be done now.
        """

    async def fetch(self, spec: RunnerSpec, report: Callable[[Progress], None]) -> None:
        """Bring here what the runner is made of, if it is not here yet.

        Raises:
            StartFailed: it is nowhere to be had.
        """

    async def launch(self, spec: RunnerSpec) -> Runner:
        """Start a runner; it need not answer yet. A cancelled or failed launch leaves nothing.

        Raises:
            StartFailed: it could not be started.
        """

    async def close(self) -> bool:
        """Let go of everything; the runners have been stopped before.

        Returns:
            Whether nothing is left.
        """
