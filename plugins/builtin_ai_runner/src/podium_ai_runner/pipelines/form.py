"""Forms (multipart/form-data): found in the body where they lie, nothing is copied out but texts.

The body is a mapped file or bytes; what costs is one search for the boundary. Number of parts,
their headers and their texts are bounded; where the file lies is all that is kept of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from attrs import define, field
from podium_hookspecs import BadInput

from podium_ai_runner.pipelines.request import FilePart
from podium_ai_runner.pipelines.values import clean

if TYPE_CHECKING:
    from podium_ai_runner.pipelines.describe import Description

MAX_PARTS = 128
MAX_HEAD_BYTES = 8 * 2**10
MAX_BOUNDARY_CHARS = 70
MAX_FILENAME_CHARS = 255

NOT_A_FORM = "request Content-Type isn't multipart/form-data"
NO_BOUNDARY = "no multipart boundary param in Content-Type"
CUT_OFF = "multipart: NextPart: EOF"

_PARAMETER = re.compile(r';[ \t]*([\w*-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"\s]*)')
_ESCAPED = re.compile(r"\\(.)")


class Data(Protocol):
    """Bytes in memory, or a mapped file."""

    def find(self, wanted: bytes, start: int, end: int, /) -> int:
        """Return where ``wanted`` begins, -1 when it is not there."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Return a copy of a part."""

    def __len__(self) -> int:
        """Return the number of bytes."""


@define
class Form:
    """What was found.

    Attributes:
        texts: The first part of each known field.
        file: The first file of the name that the pipeline knows.
    """

    texts: dict[str, str] = field(factory=dict)
    file: FilePart | None = None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a content type names.

    Raises:
        BadInput: it is no form, or names none.
    """
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise BadInput(NOT_A_FORM)
    boundary = _parameters(";" + rest).get("boundary", "")
    if not 0 < len(boundary) <= MAX_BOUNDARY_CHARS or not boundary.isascii():
        raise BadInput(NO_BOUNDARY)
    return boundary.encode()


def read_form(data: Data, boundary: bytes, description: Description) -> Form:
    """Find the parts of a form.

    Raises:
        BadInput: it is none, or exceeds a bound.
    """
    form = Form()
    delimiter = b"--" + boundary
    at = _first(data, delimiter)
    for _ in range(MAX_PARTS):
        start = _line_end(data, at)
        if start is None:
            return form
        head, body = _head(data, start)
        end = _next(data, b"\r\n" + delimiter, body - 2)
        _keep(form, head, data, body, max(body, end), description)
        at = end + 2 + len(delimiter)
    raise BadInput(f"multipart: more than {MAX_PARTS} parts")


def _first(data: Data, delimiter: bytes) -> int:
    """Return where the line of the first delimiter goes on; a preamble may come before it."""
    if data[slice(0, len(delimiter))] == delimiter:
        return len(delimiter)
    end = min(len(data), MAX_HEAD_BYTES)
    at = data.find(b"\r\n" + delimiter, 0, end)
    if at < 0:
        raise BadInput(CUT_OFF)
    return at + 2 + len(delimiter)


def _line_end(data: Data, at: int) -> int | None:
    """Return where the line after a delimiter begins; None after the last one."""
    rest = data[slice(at, at + 64)]
    if rest.startswith(b"--"):
        return None
    line = rest.lstrip(b" \t")
    if not line.startswith(b"\r\n"):
        raise BadInput(CUT_OFF)
    return at + len(rest) - len(line) + 2


def _next(data: Data, wanted: bytes, start: int) -> int:
    """Return where the next delimiter begins; what only begins like one is passed over."""
    while True:
        at = data.find(wanted, start, len(data))
        if at < 0:
            raise BadInput(CUT_OFF)
        after = at + len(wanted)
        rest = data[slice(after, after + 64)]
        if rest.startswith(b"--") or rest.lstrip(b" \t").startswith(b"\r\n"):
            return at
        start = at + 1


def _head(data: Data, start: int) -> tuple[dict[str, str], int]:
    """Read a part's headers; return those that matter and where its body begins."""
    if data[slice(start, start + 2)] == b"\r\n":
        return {}, start + 2
    end = data.find(b"\r\n\r\n", start, min(len(data), start + MAX_HEAD_BYTES))
    if end < 0:
        raise BadInput("malformed MIME header")
    for line in data[slice(start, end)].decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _parameters(value), end + 4
    return {}, end + 4


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, raw in _PARAMETER.findall(text):
        value = _ESCAPED.sub(r"\1", raw[1:-1]) if raw.startswith('"') else raw
        found.setdefault(name.lower(), value)
    return found


def _keep(
    form: Form,
    head: dict[str, str],
    data: Data,
    start: int,
    end: int,
    description: Description,
) -> None:
    name = head.get("name", "")
    known = description.field(name)
    if "filename" in head:
        if description.file is not None and name == description.file.name and form.file is None:
            filename = clean(head["filename"]).rpartition("/")[2][:MAX_FILENAME_CHARS]
            form.file = FilePart(name, filename, start, end - start)
    elif known is not None and name not in form.texts:
        if end - start > known.max_bytes:
            raise BadInput(f"{name} is longer than {known.max_bytes} bytes")
        form.texts[name] = data[slice(start, end)].decode("utf-8", "replace")
