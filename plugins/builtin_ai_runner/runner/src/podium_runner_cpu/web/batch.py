"""Pipelines that answer with one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from starlette.responses import JSONResponse, Response

from podium_runner_cpu.errors import ClientGone
from podium_runner_cpu.fields import parse
from podium_runner_cpu.web.bodies import read_form, read_json
from podium_runner_cpu.web.replies import authorize, own_model

if TYPE_CHECKING:
    from starlette.requests import Request

    from podium_runner_cpu.fields import Values
    from podium_runner_cpu.host import ModelHost


@frozen
class Batch:
    """The route of one pipeline."""

    host: ModelHost

    async def serve(self, request: Request) -> Response:
        """Check, wait for the model, run it."""
        pipeline = self.host.pipeline
        async with self.host.admit():
            values = await self._values(request)
            own_model(pipeline, values[pipeline.model_field])
            async with self.host.turn():
                if await request.is_disconnected():
                    raise ClientGone("The client left.")
                answer = await self.host.call(pipeline.run, values)
        return JSONResponse(answer)

    async def _values(self, request: Request) -> Values:
        """Read and check; strangers cannot make us read files."""
        pipeline = self.host.pipeline
        if not pipeline.checks_first:
            self._authorize(request)
        read = read_json if pipeline.encoding == "json" else read_form
        values = parse(pipeline.fields, await read(request, pipeline.settings.limits))
        pipeline.check(values)
        self._authorize(request)
        return values

    def _authorize(self, request: Request) -> None:
        pipeline = self.host.pipeline
        authorize(request, pipeline.settings.auth_token, pipeline.unauthorized_text)
