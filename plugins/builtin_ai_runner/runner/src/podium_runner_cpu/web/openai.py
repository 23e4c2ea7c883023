"""Chat completions as OpenAI's API has them, so that any engine's client can talk to ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar, cast

from attrs import frozen
from starlette.responses import JSONResponse, Response

from podium_runner_cpu.engines.generate import Sampling, Step
from podium_runner_cpu.errors import InvalidFields, RunnerError
from podium_runner_cpu.fields import Field, Values, parse
from podium_runner_cpu.web.bodies import read_json
from podium_runner_cpu.web.events import DONE, EventStream, event
from podium_runner_cpu.web.llm import Reply, collect, usage
from podium_runner_cpu.web.replies import authorize

if TYPE_CHECKING:
    from starlette.requests import Request

    from podium_runner_cpu.engines.tokens import Messages
    from podium_runner_cpu.host import ModelHost
    from podium_runner_cpu.pipelines.llm import Llm

MAX_STOPS = 4
ROLES = {"developer": "system", "tool": "user", "function": "user"}
KINDS = {401: "authentication_error", 404: "not_found_error", 503: "overloaded_error"}


class UnknownModel(RunnerError):
    """No such model here."""

    code = "unknown-model"
    status = 404


@frozen
class OpenAi:
    """The routes under ``/v1``."""

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("messages", "messages", required=True),
        Field("model", required=True),
        Field("max_tokens", "int", low=1),
        Field("max_completion_tokens", "int", low=1),
        Field("temperature", "float", default=1.0, low=0, high=2),
        Field("top_p", "float", default=1.0, low=0, high=1),
        Field("top_k", "int", default=-1, low=-1),
        Field("seed", "int"),
        Field("n", "int", default=1, low=1, high=1),
        Field("stream", "bool", default=False),
    )

    host: ModelHost
    pipeline: Llm

    async def models(self, request: Request) -> Response:
        """List the one model."""
        authorize(request, self.pipeline.settings.auth_token, self.pipeline.unauthorized_text)
        own = self.pipeline.settings.model_id
        entry = {"id": own, "object": "model", "created": 0, "owned_by": "podium"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def serve(self, request: Request) -> Response:
        """Continue a conversation."""
        try:
            return await self._serve(request)
        except RunnerError as error:
            return JSONResponse({"error": _error(error)}, _status(error))

    async def _serve(self, request: Request) -> Response:
        settings = self.pipeline.settings
        authorize(request, settings.auth_token, self.pipeline.unauthorized_text)
        async with AsyncExitStack() as held:
            await held.enter_async_context(self.host.admit())
            given = plain(await read_json(request, settings.limits))
            values = parse(self.FIELDS, given)
            if values["model"] != settings.model_id:
                raise UnknownModel(f"The model {str(values['model'])[:200]!r} does not exist")
            await held.enter_async_context(self.host.turn())
            messages = cast("Messages", values["messages"])
            steps = self.host.iterate(self.pipeline.generate(messages, _sampling(values, given)))
            first = await anext(steps)
            reply = Reply(settings.model_id)
            if values["stream"]:
                wants = _wants_usage(given)
                return EventStream(_events(reply, first, steps, wants), held.pop_all())
            return _whole(reply, *await collect(request, first, steps))


def plain(given: object) -> Mapping[str, object]:
    """Leave out nulls, and turn contents in parts into text.

    Raises:
        InvalidFields: it is no object.
    """
    if not isinstance(given, Mapping):
        raise InvalidFields([{"loc": ["body"], "msg": "Expected an object", "type": "dict_type"}])
    found = {name: value for name, value in given.items() if value is not None}
    messages = found.get("messages")
    if isinstance(messages, list):
        found["messages"] = [_message(message) for message in messages]
    return found


def _message(message: object) -> object:
    if not isinstance(message, Mapping):
        return message
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(part for part in parts if isinstance(part, str))
    return {"role": ROLES.get(role, role) if isinstance(role, str) else role, "content": content}


def _sampling(values: Values, given: Mapping[str, object]) -> Sampling:
    wanted = values["max_completion_tokens"] or values["max_tokens"]
    return Sampling(
        max_tokens=cast("int | None", wanted) or 2**31,
        temperature=cast("float", values["temperature"]),
        top_p=cast("float", values["top_p"]),
        top_k=cast("int", values["top_k"]),
        seed=cast("int | None", values["seed"]),
        stop=_stops(given.get("stop")),
    )


def _stops(given: object) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return tuple(stop for stop in stops if isinstance(stop, str) and stop)[:MAX_STOPS]


def _wants_usage(given: Mapping[str, object]) -> bool:
    options = given.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _object(reply: Reply, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
    head = {"id": reply.id, "object": kind, "created": reply.created, "model": reply.model}
    return head | {"choices": choices}


def _whole(reply: Reply, text: str, last: Step) -> Response:
    message = {"role": "assistant", "content": text}
    choice: dict[str, object] = {"index": 0, "message": message, "finish_reason": last.finish}
    answer = _object(reply, "chat.completion", [choice]) | {"usage": usage(last)}
    return JSONResponse(answer)


async def _events(
    reply: Reply, first: Step, rest: AsyncIterator[Step], wants_usage: bool
) -> AsyncIterator[str]:
    def chunk(delta: dict[str, str], finish: str | None = None) -> str:
        choice: dict[str, object] = {"index": 0, "delta": delta, "finish_reason": finish}
        return event(_object(reply, "chat.completion.chunk", [choice]))

    try:
        yield chunk({"role": "assistant", "content": ""})
        step = first
        if step.text:
            yield chunk({"content": step.text})
        async for step in rest:
            if step.text:
                yield chunk({"content": step.text})
        yield chunk({}, step.finish)
        if wants_usage:
            yield event(_object(reply, "chat.completion.chunk", []) | {"usage": usage(step)})
        yield DONE
    except RunnerError as error:
        yield event({"error": _error(error)})


def _status(error: RunnerError) -> int:
    return 400 if isinstance(error, InvalidFields) else error.status


def _error(error: RunnerError) -> dict[str, object]:
    message = error.message
    if isinstance(error, InvalidFields):
        where = [(".".join(map(str, d["loc"])), d["msg"]) for d in error.details]  # type: ignore[call-overload]
        message = "; ".join(f"{place}: {text}" for place, text in where)
    status = _status(error)
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": None, "code": error.code}
