"""A slot: a place for one runner, and everything that may happen to the one that is there.

Whatever changes the runner is a *step*: a task of the slot's own, one at a time. Jobs wait for
steps and never run them, so a job that is cancelled in the middle of a swap leaves the swap to
its end, and no two runners ever share a slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import Busy, WorkerLost

from podium_ai_runner.executors.backoff import Backoff
from podium_ai_runner.executors.launcher import ExecutorDown, StartFailed
from podium_ai_runner.executors.probe import UNKNOWN_VERSION, Answer, Probe, ProbeFailed, ProbeSlow
from podium_ai_runner.executors.tally import Tally, Verdict
from podium_ai_runner.executors.values import (
    NO_CAPACITY,
    Ended,
    Endpoint,
    Progress,
    RunnerInfo,
    SlotState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from podium_hookspecs import Device

    from podium_ai_runner.executors.launcher import Launcher, Runner
    from podium_ai_runner.executors.telemetry import Telemetry
    from podium_ai_runner.executors.values import Key, RunnerSpec, Timings

AUTOPSY_S = 1.5
"""How long an engine may take to notice that a process of its own has died."""
CLOSE_EXTRA_S = 20.0
MAX_LAST_WORDS = 300


@define(eq=False)
class Held:
    """The runner that is there.

    Attributes:
        endpoint: What jobs are given.
        loading: It said so when it was last asked.
        suspect: A job left it in the middle: ask before the next one.
        ended: Why it was given up.
        since_s: Monotonic time of its first good answer.
    """

    spec: RunnerSpec
    runner: Runner
    endpoint: Endpoint
    tally: Tally
    lasting_s: float
    loading: bool = False
    suspect: bool = False
    ended: Ended | None = None
    since_s: float = field(factory=time.monotonic)

    @property
    def lasts(self) -> bool:
        """It has lived for a while."""
        return time.monotonic() - self.since_s > self.lasting_s


@define(eq=False)
class RunnerSlot:
    """A place for one runner.

    Args:
        name: Stable over restarts.
        specs: What may run here, and how.
        launchers: Start it, by the name of the executor.
        timings: How long things may take.
        telemetry: Hears of everything.
        on_change: Called after each change of state.
        pinned: Kept here, jobs or not; None: what a job needs.
    """

    name: str
    specs: Mapping[Key, RunnerSpec]
    launchers: Mapping[str, Launcher]
    timings: Timings
    telemetry: Telemetry
    on_change: Callable[[], None]
    pinned: Key | None = None
    jobs: int = field(default=0, init=False)
    changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    state: SlotState = field(default=SlotState.EMPTY, init=False)
    target: Key | None = field(default=None, init=False)
    progress: Progress | None = field(default=None, init=False)
    log_tail: str = field(default="", init=False)
    was_ready: bool = field(default=False, init=False)
    down: dict[str, str] = field(factory=dict, init=False)
    since_s: float = field(factory=time.time, init=False)
    closed: bool = field(default=False, init=False)
    held: Held | None = field(default=None, init=False)
    backoffs: dict[Key, Backoff] = field(init=False)
    _probe: Probe = field(init=False)
    _going: Held | None = field(default=None, init=False)
    _step: asyncio.Task[None] | None = field(default=None, init=False)
    _watcher: asyncio.Task[None] | None = field(default=None, init=False)
    _kick: asyncio.Event = field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        timings = self.timings
        self._probe = Probe(timings.probe_s)
        self.backoffs = {
            key: Backoff(timings.retry_first_s, timings.retry_most_s) for key in self.specs
        }

    # --- for jobs

    async def acquire(self, key: Key) -> Held:
        """Wait for the runner of ``key`` to be here and ready, and start it where it is not.

        Cancel it at will: what it began goes on.

        Raises:
            StartFailed: it could not be started.
            Busy: it could not be started a moment ago, and the time for the next try is to come.
            WorkerLost: the slot is closed.
        """
        while not self.closed:
            if self._step is not None:
                await self._await_step(self._step, key)
                continue
            held = self.held
            if held is None or held.spec.key != key:
                self._check_backoff(key)
                self._begin(self._become(key, f"{key} is wanted"), key)
            elif held.loading:
                await self.changed.wait()
            elif await self._still_good(held):
                return held
        msg = f"{self.name} is closed"
        raise WorkerLost(msg, public=NO_CAPACITY)

    async def examine(self, held: Held) -> Ended | None:
        """See whether a runner that cut a job off still works; replace it if not.

        Returns:
            Why it is being replaced; None: it is not.
        """
        ended = await held.runner.ended()
        if ended is None:
            try:
                answer = await self._health(held.runner, held.spec)
            except ProbeFailed as error:
                ended = await self._autopsy(held) or Ended(str(error))
            else:
                if answer is not Answer.ERROR:
                    return None
                ended = Ended("/health says ERROR")
        self.replace(held, ended)
        return held.ended or ended

    def replace(self, held: Held, ended: Ended) -> None:
        """End a runner that does not work; a pinned one is started again."""
        if self.held is held and self._step is None and not self.closed:
            held.ended = ended
            if not self.jobs and not held.lasts:  # what dies under a job may die of the job
                self.backoffs[held.spec.key].lost(ended.reason)
            self._begin(self._lose(held, ended.reason), self.pinned)

    async def _await_step(self, step: asyncio.Task[None], key: Key) -> None:
        """Wait for a step; its failure is the caller's if it was for the caller's model."""
        mine = self.target == key
        await asyncio.wait([step])
        error = None if step.cancelled() else step.exception()
        if mine and error is not None:
            failed = error.again() if isinstance(error, StartFailed) else StartFailed(repr(error))
            raise failed from error

    def _check_backoff(self, key: Key) -> None:
        backoff = self.backoffs[key]
        if backoff.left_s > 0:
            msg = (
                f"{key} failed to start {backoff.failures} times, the next try is in "
                f"{backoff.left_s:.0f} s: {backoff.reason}"
            )
            raise Busy(msg, public=NO_CAPACITY)

    async def _still_good(self, held: Held) -> bool:
        if held.suspect:
            await self.examine(held)
            held.suspect = self.held is not held
        return self.held is held and self._step is None and not held.suspect

    async def _autopsy(self, held: Held) -> Ended | None:
        """Ask for the cause of death until the engine knows it."""
        for _ in range(5):
            await asyncio.sleep(AUTOPSY_S / 5)
            if (ended := await held.runner.ended()) is not None:
                return ended
        return None

    def may_start(self, key: Key) -> bool:
        """Say whether a start of ``key`` would be tried now."""
        return self.specs[key].executor not in self.down and not self.backoffs[key].left_s

    # --- for operators

    def warm(self, key: Key) -> bool:
        """Begin to start a runner here without a job; False when the slot is not free for it."""
        if self.jobs or self.pinned or self._step is not None or self.closed:
            return False
        if self.held is None or self.held.spec.key != key:
            self._begin(self._become(key, "an operator wants another"), key)
        return True

    async def evict(self) -> None:
        """End the runner; a pinned one is started again.

        Raises:
            Busy: it has a job, or is being changed.
        """
        if self.jobs or self._step is not None or self.closed:
            msg = f"{self.name} is at work"
            raise Busy(msg, public=NO_CAPACITY)
        self._begin(self._drop("an operator said so"), None)
        if self._step is not None:
            await asyncio.shield(self._step)
        self._kick.set()

    @property
    def info(self) -> RunnerInfo | None:
        """The runner that is ready now."""
        held = self.held
        if held is None or held.loading:
            return None
        end = held.endpoint
        return RunnerInfo(end.version, end.warm, end.hardware)

    # --- its life

    def open(self) -> None:
        """Begin to watch; a pinned runner is started at once."""
        self._watcher = asyncio.create_task(self._watch(), name=f"{self.name}-watch")

    async def close(self) -> None:
        """End the runner and everything else; safe to call twice."""
        self.closed = True
        tasks = [task for task in (self._watcher, self._step) if task is not None]
        self._watcher = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self.timings.stop_s + CLOSE_EXTRA_S)
        for held in (self.held, self._going):
            if held is not None:
                await held.runner.stop()
        self.held = self._going = None
        await self._probe.close()
        self._rest()

    def _begin(self, work: Coroutine[None, None, None], target: Key | None) -> None:
        self.target = target
        self._step = asyncio.create_task(work, name=f"{self.name}-step")
        self._step.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._step = None
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StartFailed):
            self.telemetry.fault(self.name, error)
            if self.target is not None:
                self.backoffs[self.target].failed(repr(error))
        self._rest()

    async def _become(self, key: Key, reason: str) -> None:
        """End what is here and start the runner of ``key``."""
        began_s = time.monotonic()
        spec, backoff = self.specs[key], self.backoffs[key]
        launcher = self.launchers[spec.executor]
        self.log_tail = ""
        try:
            await launcher.check()
            self._set_up(spec.executor)
            await launcher.fetch(spec, self._pulling)
            await self._drop(reason)
            held = await self._start(spec)
        except ExecutorDown as error:
            self._set_down(spec.executor, str(error))
            raise
        except StartFailed as error:
            backoff.failed(str(error))
            self.log_tail = error.log_tail
            self.telemetry.start_failed(self.name, key, str(error), backoff.left_s, error.log_tail)
            raise
        backoff.succeeded()
        self.held, self.was_ready = held, True
        self._rest()
        self.telemetry.started(self.name, key, held.endpoint.version, time.monotonic() - began_s)

    async def _start(self, spec: RunnerSpec) -> Held:
        self._become_state(SlotState.STARTING)
        self.telemetry.starting(self.name, spec.key, spec.image or spec.url or spec.command[0])
        runner = await self.launchers[spec.executor].launch(spec)
        try:
            await self._until_ready(runner, spec)
            version, hardware = await self._facts(runner, spec)
        except StartFailed as error:
            tail = await runner.logs()
            await runner.stop()
            raise StartFailed(str(error), tail) from error
        except BaseException:
            await runner.stop()
            raise
        warm = self.pinned == spec.key
        endpoint = Endpoint(runner.url, spec.token, version, hardware, warm)
        tally = Tally(self.timings.failures, self.timings.loading_s)
        return Held(spec, runner, endpoint, tally, self.timings.lasting_s)

    async def _health(self, runner: Runner, spec: RunnerSpec) -> Answer:
        return await self._probe.health(runner.url, spec.token, spec.api)

    async def _facts(self, runner: Runner, spec: RunnerSpec) -> tuple[str, tuple[Device, ...]]:
        if spec.api != "runner":
            return UNKNOWN_VERSION, ()
        version = await self._probe.version(runner.url, spec.token)
        return version, await self._probe.hardware(runner.url, spec.token)

    async def _until_ready(self, runner: Runner, spec: RunnerSpec) -> None:
        clock = asyncio.get_running_loop()
        limit_s, last = clock.time() + spec.start_timeout_s, "no answer"
        while True:
            try:
                answer = await self._health(runner, spec)
            except ProbeFailed as error:
                last = str(error)
            else:
                if answer in (Answer.OK, Answer.IDLE):
                    return
                last = f"/health says {answer.value}"
                if answer is Answer.ERROR:
                    raise StartFailed(last)
                if self.state is not SlotState.LOADING:
                    limit_s = clock.time() + spec.start_timeout_s  # it lives: the time is anew
                    self._become_state(SlotState.LOADING)
            if (ended := await runner.ended()) is not None:
                raise StartFailed(_with_last_words(ended.reason, await runner.logs()))
            if clock.time() > limit_s:
                msg = f"it did not become ready in time: {last}"
                raise StartFailed(msg)
            await asyncio.sleep(self.timings.poll_s)

    async def _drop(self, reason: str) -> None:
        """End the runner that is here, if one is, because its place is wanted."""
        if self.held is not None:
            self.telemetry.evicted(self.name, self.held.spec.key, reason)
            await self._end(self.held)

    async def _lose(self, held: Held, reason: str) -> None:
        """End a runner that does not work; a pinned one is started again."""
        tail = await held.runner.logs()
        self.telemetry.lost(self.name, held.spec.key, reason, tail)
        await self._end(held)
        self.log_tail = tail
        if self.pinned is not None and not self.backoffs[self.pinned].left_s:
            with contextlib.suppress(StartFailed):  # said, and tried again in a while
                await self._become(self.pinned, "")

    async def _end(self, held: Held) -> None:
        self.held, self._going = None, held
        self._become_state(SlotState.STOPPING)
        await held.runner.stop()
        self._going = None
        self._become_state(SlotState.EMPTY)

    # --- watching

    async def _watch(self) -> None:
        while True:
            if self._step is None:
                try:
                    await self._look()
                except Exception as error:  # noqa: BLE001  a fault must not end the watch
                    self.telemetry.fault(self.name, error)
            self._kick.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._kick.wait()

    def _pause_s(self) -> float:
        """Until the next look: a pinned runner's next try may be due before it."""
        if self.pinned is not None and self.held is None:
            left_s = self.backoffs[self.pinned].left_s
            return min(self.timings.watch_s, left_s or self.timings.watch_s)
        return self.timings.watch_s

    async def _look(self) -> None:
        if self.held is None or self.down:
            await self._look_at_launchers()
        if (held := self.held) is None or self._step is not None:
            return
        ended = await held.runner.ended()
        answer, reason = None, ""
        if ended is None:
            try:
                answer = await self._health(held.runner, held.spec)
            except ProbeFailed as error:
                if isinstance(error, ProbeSlow) and self.jobs:
                    return  # it is at work; the job has a time limit of its own
                reason = str(error)
        if self.held is held and self._step is None:  # else a job was faster
            self._judge(held, ended, answer, reason)

    def _judge(self, held: Held, ended: Ended | None, answer: Answer | None, reason: str) -> None:
        """Act on a look at the runner: ``reason`` says why there is no answer."""
        if ended is not None:
            self.replace(held, ended)
            return
        verdict = held.tally.see(answer)
        if verdict is Verdict.BAD:
            says = reason or f"/health says {answer.value if answer else None}"
            self.replace(held, Ended(f"{says} for too long" if held.loading else says))
        elif held.loading != (verdict is Verdict.LOADING):
            held.loading = verdict is Verdict.LOADING
            self._rest()
        if held.lasts:
            self.backoffs[held.spec.key].lasted()

    async def _look_at_launchers(self) -> None:
        for kind, launcher in self.launchers.items():
            try:
                await launcher.check()
            except ExecutorDown as error:
                self._set_down(kind, str(error))
            else:
                self._set_up(kind)
        if self.held is not None or self._step is not None:
            return
        if self.pinned is not None and not self.down and not self.backoffs[self.pinned].left_s:
            self._begin(self._become(self.pinned, ""), self.pinned)
        else:
            self._notify()  # a wait between tries may be over

    def _set_down(self, kind: str, reason: str) -> None:
        if self.down.get(kind) != reason:
            self.down[kind] = reason
            self.telemetry.executor_down(self.name, kind, reason)
        if self._step is None:
            self._rest()

    def _set_up(self, kind: str) -> None:
        if self.down.pop(kind, None) is not None:
            self.telemetry.executor_back(self.name, kind)
            if self._step is None:
                self._rest()

    def _pulling(self, progress: Progress) -> None:
        self.telemetry.pulling(progress)
        self.progress, self.state = progress, SlotState.PULLING

    def _rest(self) -> None:
        """Say what is here between two steps."""
        if self.held is not None:
            state = SlotState.LOADING if self.held.loading else SlotState.READY
        elif self.closed or len(self.down) == len(self.launchers):
            state = SlotState.DOWN
        elif self.target is not None and self.backoffs[self.target].failures:
            state = SlotState.FAILING
        else:
            state = SlotState.EMPTY
        self._become_state(state)

    def _become_state(self, state: SlotState) -> None:
        self.state, self.since_s, self.progress = state, time.time(), None
        self._notify()

    def _notify(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
        self.on_change()


def _with_last_words(reason: str, log: str) -> str:
    """Add the last line of a log, which mostly says it all."""
    lines = log.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{reason}: {last[:MAX_LAST_WORDS]}" if last else reason
