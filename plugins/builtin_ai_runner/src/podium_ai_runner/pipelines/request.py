"""A parsed request: data, so that it can cross to another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class FilePart:
    """Where the request's file lies in its body.

    Attributes:
        name: The name of its part.
        filename: The client's name for it.
        offset: First byte.
        size_bytes: Length.
    """

    name: str
    filename: str
    offset: int
    size_bytes: int


@frozen
class AiRequest:
    """What a job is to do.

    Attributes:
        pipeline: The pipeline's name.
        model: Which model.
        values: The fields that were given, by name, in the description's order.
        units: How much work it is.
        file: The file, for pipelines that take one.
    """

    pipeline: str
    model: str
    values: Mapping[str, Any] = field(repr=False)
    units: int
    file: FilePart | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer is asked for as events."""
        return self.values.get("stream") is True
