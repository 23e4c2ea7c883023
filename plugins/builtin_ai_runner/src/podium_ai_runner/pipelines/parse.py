"""Reading requests: JSON or a form, into what a job needs to know (ai 1.2, 1.3)."""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING, Any

from attrs import frozen
from podium_hookspecs import BadInput, HttpRequest

from podium_ai_runner.pipelines.describe import TOO_LARGE, Description, File, Kind, Measure
from podium_ai_runner.pipelines.form import Data, Form, boundary_of, read_form
from podium_ai_runner.pipelines.gojson import BadJson, decode
from podium_ai_runner.pipelines.pictures import size_of
from podium_ai_runner.pipelines.request import AiRequest, FilePart
from podium_ai_runner.pipelines.units import count
from podium_ai_runner.pipelines.values import from_json, from_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from podium_hookspecs import Body

INLINE_BYTES = 64 * 2**10
"""Bodies up to this are read where we are; larger ones in a thread."""

MAX_JSON_BYTES = 8 * 2**20

if TYPE_CHECKING:
    Duration = Callable[[Body, FilePart], Awaitable[int]]
    RunBlocking = Callable[..., Awaitable[Any]]


@frozen
class Parser:
    """Reads the requests of one pipeline.

    Args:
        description: Which.
        duration: Measures audio: whole seconds, in milliseconds.
        run_blocking: Runs a function in a thread.
    """

    description: Description
    duration: Duration
    run_blocking: RunBlocking

    async def parse(self, request: HttpRequest) -> AiRequest:
        """Read a request.

        Raises:
            BadInput: with the text that the peer gets.
        """
        if self.description.file is None:
            values = await self._json(request.body)
            return self._request(values, None, 0)
        values, part, measured = await self._form(request)
        if self.description.file.measure is Measure.AUDIO:
            measured = await self.duration(request.body, part)
        return self._request(values, part, measured)

    async def _json(self, body: Body) -> dict[str, Any]:
        raw = await read_whole(body, MAX_JSON_BYTES)
        if len(raw) <= INLINE_BYTES:
            return read_json(raw, self.description)
        values: dict[str, Any] = await self.run_blocking(read_json, raw, self.description)
        return values

    async def _form(self, request: HttpRequest) -> tuple[dict[str, Any], FilePart, int]:
        boundary = boundary_of(request.content_type)
        description, body = self.description, request.body
        size_bytes = body.size_bytes
        if size_bytes is not None and size_bytes > INLINE_BYTES and (fd := _fileno(body)) >= 0:
            found: tuple[dict[str, Any], FilePart, int] = await self.run_blocking(
                _from_file, fd, boundary, description
            )
            return found
        return _from_data(await read_whole(body), boundary, description)

    def _request(self, values: dict[str, Any], part: FilePart | None, measured: int) -> AiRequest:
        description = self.description
        for field in description.fields:
            if field.missing and field.name not in values:
                raise BadInput(field.missing)
            if field.required:
                values.setdefault(field.name, [] if field.kind is Kind.MESSAGES else "")
        values = {one.name: values[one.name] for one in description.fields if one.name in values}
        units = count(description, values, measured)
        return AiRequest(description.name, values[description.model_field], values, units, part)


async def read_whole(body: Body, limit_bytes: int | None = None) -> bytes:
    """Return a body's bytes.

    Raises:
        BadInput: it has more.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in body:
        size_bytes += len(piece)
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise BadInput("http: request body too large")
        pieces.append(piece)
    return b"".join(pieces)


def read_json(raw: bytes, description: Description) -> dict[str, Any]:
    """Read the fields of a JSON request; what is null or unknown counts as absent.

    Raises:
        BadInput: with a decoder's text.
    """
    try:
        decoded = decode(raw, end_of_stream=True)
    except BadJson as error:
        raise BadInput(str(error)) from None
    name = description.type_name
    if not isinstance(decoded, dict):
        kinds = {list: "array", str: "string", bool: "bool"}
        kind = kinds.get(type(decoded), "number")
        if decoded is None:
            return {}
        raise BadInput(f"json: cannot unmarshal {kind} into Go value of type worker.{name}")
    return {
        field.name: from_json(name, field, decoded[field.name])
        for field in description.fields
        if decoded.get(field.name) is not None
    }


def _fileno(body: Body) -> int:
    try:
        return body.fileno()
    except OSError:
        return -1


@contextlib.contextmanager
def _mapped(fd: int) -> Iterator[Data]:
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
        yield data


def _from_file(
    fd: int, boundary: bytes, description: Description
) -> tuple[dict[str, Any], FilePart, int]:
    with _mapped(fd) as data:
        return _from_data(data, boundary, description)


def _from_data(
    data: Data, boundary: bytes, description: Description
) -> tuple[dict[str, Any], FilePart, int]:
    """Read a form: its values, where its file lies, and how many pixels that has."""
    form = read_form(data, boundary, description)
    values = {
        field.name: from_text(field, form.texts[field.name])
        for field in description.fields
        if field.name in form.texts
    }
    assert description.file is not None
    part = _file(form, description.file)
    if description.file.measure is not Measure.IMAGE:
        return values, part, 0
    width, height = size_of(data, part.offset, part.offset + part.size_bytes)
    return values, part, width * height


def _file(form: Form, file: File) -> FilePart:
    part = form.file
    if part is None or not part.size_bytes:
        raise BadInput(file.missing)
    if file.max_bytes is not None and part.size_bytes > file.max_bytes:
        raise BadInput(TOO_LARGE)
    return part
