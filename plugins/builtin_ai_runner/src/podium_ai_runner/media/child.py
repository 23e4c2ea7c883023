"""Runs one task of this package in a child process, bounded in time, memory and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from attrs import define, field
from podium_hookspecs import Busy, JobFailed, JobTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_ANSWER_BYTES = 64 * 2**10
MODULE = "podium_ai_runner.media"


class MediaFailed(JobFailed):
    """A task could not be done with what it was given."""

    code = "media_failed"


@define(eq=False)
class Children:
    """Starts children, few at a time.

    Args:
        at_a_time: How many run; further tasks wait.
        memory_mb: What each may take.
        queue_timeout_s: How long a task waits for its turn.
    """

    at_a_time: int = 2
    memory_mb: int = 2048
    queue_timeout_s: float = 20.0
    _free: asyncio.Semaphore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.at_a_time)

    async def run(
        self, task: str, facts: Mapping[str, Any], files: Sequence[int], timeout_s: float
    ) -> dict[str, Any]:
        """Run a task and return what it says.

        Args:
            task: Its name.
            facts: What it is told, as JSON.
            files: Descriptors that the child gets, under the same numbers.
            timeout_s: It is killed then.

        Raises:
            MediaFailed: it could not do it; its reason is the message.
            JobTimeout: it took too long.
            Busy: too many tasks are before it.
        """
        try:
            async with asyncio.timeout(self.queue_timeout_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise Busy(f"{task}: too many at a time", public="insufficient capacity") from error
        try:
            async with asyncio.timeout(timeout_s):
                return await self._run(task, facts, files, timeout_s)
        except TimeoutError as error:
            raise JobTimeout(f"{task} took longer than {timeout_s:g} s") from error
        finally:
            self._free.release()

    async def _run(
        self, task: str, facts: Mapping[str, Any], files: Sequence[int], timeout_s: float
    ) -> dict[str, Any]:
        limits = [str(os.getpid()), str(self.memory_mb), str(int(timeout_s) + 1)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            MODULE,
            task,
            *limits,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=tuple(files),
            env={"LANG": "C.UTF-8"},
            limit=MAX_ANSWER_BYTES,
        )
        try:
            said, _ = await process.communicate(json.dumps(facts).encode())
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return _answer(task, said[:MAX_ANSWER_BYTES], process.returncode)


def _answer(task: str, said: bytes, code: int | None) -> dict[str, Any]:
    try:
        answer = json.loads(said)
    except ValueError:
        raise MediaFailed(f"{task}: the child process ended with {code}") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise MediaFailed(f"{task}: {str(answer)[:500]}")
    return answer
