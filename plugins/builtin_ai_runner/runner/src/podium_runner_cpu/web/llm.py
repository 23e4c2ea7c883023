"""The llm route: one object, or a stream of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

from attrs import field, frozen
from starlette.responses import JSONResponse, Response

from podium_runner_cpu.engines.generate import Sampling, Step
from podium_runner_cpu.errors import ClientGone, RunnerError
from podium_runner_cpu.fields import parse
from podium_runner_cpu.web.bodies import read_json
from podium_runner_cpu.web.events import DONE, EventStream, event
from podium_runner_cpu.web.replies import authorize, own_model

if TYPE_CHECKING:
    from starlette.requests import Request

    from podium_runner_cpu.engines.tokens import Messages
    from podium_runner_cpu.fields import Values
    from podium_runner_cpu.host import ModelHost
    from podium_runner_cpu.pipelines.llm import Llm


@frozen
class LlmRoute:
    """The route of the language model."""

    host: ModelHost
    pipeline: Llm

    async def serve(self, request: Request) -> Response:
        """Check, wait for the model, and continue the conversation."""
        settings = self.pipeline.settings
        authorize(request, settings.auth_token, self.pipeline.unauthorized_text)
        async with AsyncExitStack() as held:
            await held.enter_async_context(self.host.admit())
            values = parse(self.pipeline.fields, await read_json(request, settings.limits))
            own_model(self.pipeline, values["model"])
            await held.enter_async_context(self.host.turn())
            messages = cast("Messages", values["messages"])
            steps = self.host.iterate(self.pipeline.generate(messages, sampling_of(values)))
            first = await anext(steps)
            reply = Reply(settings.model_id)
            if values["stream"]:
                return EventStream(reply.events(first, steps), held.pop_all())
            return await self._whole(request, reply, first, steps)

    async def _whole(
        self, request: Request, reply: Reply, first: Step, steps: AsyncIterator[Step]
    ) -> Response:
        text, last = await collect(request, first, steps)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "delta": None}
        return JSONResponse(reply.around(choice, last))


def sampling_of(values: Values) -> Sampling:
    """Return how a request wants its tokens chosen."""
    return Sampling(
        max_tokens=cast("int", values["max_tokens"]),
        temperature=cast("float", values["temperature"]),
        top_p=cast("float", values["top_p"]),
        top_k=cast("int", values["top_k"]),
    )


async def collect(request: Request, first: Step, steps: AsyncIterator[Step]) -> tuple[str, Step]:
    """Return the whole text and the last step.

    Raises:
        ClientGone: nobody waits for it any more.
    """
    texts, last = [first.text], first
    async for step in steps:
        texts.append(step.text)
        last = step
        if await request.is_disconnected():
            raise ClientGone("The client left.")
    return "".join(texts), last


@frozen
class Reply:
    """What the objects of one reply have in common."""

    model: str
    id: str = field(factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(factory=lambda: int(time.time()))

    def around(self, choice: dict[str, object], step: Step) -> dict[str, object]:
        """Return one object of the reply."""
        return {
            "id": self.id,
            "model": self.model,
            "created": self.created,
            "usage": usage(step),
            "choices": [choice],
        }

    async def events(self, first: Step, rest: AsyncIterator[Step]) -> AsyncIterator[str]:
        """Yield the events of a stream.

        The last object says "stop" and nothing else: that is what callers of this route wait for.
        """
        try:
            step = first
            if step.text:
                yield event(self._chunk(step, ""))
            async for step in rest:
                if step.text:
                    yield event(self._chunk(step, ""))
            yield event(self._chunk(step, "stop"))
            yield DONE
        except RunnerError as error:
            yield event({"error": error.message})

    def _chunk(self, step: Step, finish: str) -> dict[str, object]:
        delta = {"role": "assistant", "content": "" if finish else step.text}
        choice = {"index": 0, "finish_reason": finish, "delta": delta, "message": None}
        return self.around(choice, step)


def usage(step: Step) -> dict[str, int]:
    """Return the tokens so far."""
    return {
        "prompt_tokens": step.prompt_tokens,
        "completion_tokens": step.completion_tokens,
        "total_tokens": step.prompt_tokens + step.completion_tokens,
    }
