"""The batch pipelines as a Gateway sees them: numbers, bodies, units, media (ai.md 1, 2.4).

Source: go-livepeer core/capabilities.go, server/ai_process.go, ai/worker/multipart.go.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from podium.testing.gateway.ai.measure import image_pixels, whole_seconds
from podium.testing.gateway.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fields = Mapping[str, Any]
    Count = Callable[[Fields, bytes], int]

IMAGE_TO_VIDEO_FRAMES = 25
MS_PER_S = 1000
DEFAULT_MAX_TOKENS = 256


@frozen
class Upload:
    """A file of a request: its name and its bytes."""

    name: str
    data: bytes = field(repr=lambda data: f"<{len(data)} bytes>")


@frozen
class BatchPipeline:
    """One pipeline.

    Attributes:
        name: Also its path.
        capability: The network's number for it.
        unit: What it is paid by.
        count: Returns the units of a request, from its fields and its file.
        file_field: The multipart part that carries the file; empty: the body is JSON.
        text_field: Where the text of a request goes.
        model_field: What the model's name is called.
        media: Where the answer holds URLs: ``"images"``, ``"audio"`` or nowhere.
        downloads_only: Data URLs are not taken.
        fill: Fields that a Gateway writes when they are missing.
    """

    name: str
    capability: int
    unit: str
    count: Count = field(repr=False)
    file_field: str = ""
    text_field: str = "prompt"
    model_field: str = "model_id"
    media: str = ""
    downloads_only: bool = False
    fill: Fields = field(factory=dict)

    def complete(self, model: str, fields: Fields, upload: Upload | None) -> dict[str, Any]:
        """Return the fields as they travel.

        Raises:
            InputError: the file is missing, or one was given where none belongs.
        """
        if bool(self.file_field) != (upload is not None):
            wants = f"needs a file as {self.file_field!r}" if self.file_field else "takes no file"
            raise InputError(f"{self.name} {wants}")
        full = {**self.fill, **fields, self.model_field: model}
        if "num_images_per_prompt" in self.fill:
            full["num_images_per_prompt"] = max(1, _number(full, "num_images_per_prompt", 1))
        if self.name == "audio-to-text" and upload is not None:
            full["metadata"] = f'{{"duration":"{whole_seconds(upload.data)}"}}'
        return full

    def units(self, full: Fields, upload: Upload | None) -> int:
        """Return what a Gateway pays for; ``full`` is what ``complete`` returned.

        Raises:
            InputError: it cannot be counted.
        """
        units = self.count(full, b"" if upload is None else upload.data)
        if units < 0:
            raise InputError(f"{self.name} would cost less than nothing")
        return units


def _number(fields: Fields, name: str, default: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    return value


def _asked_pixels(fields: Fields, _file: bytes) -> int:
    area = _number(fields, "height", 512) * _number(fields, "width", 512)
    return area * _number(fields, "num_images_per_prompt", 1)


def _input_pixels(_fields: Fields, file: bytes) -> int:
    return image_pixels(file)


def _edited_pixels(fields: Fields, file: bytes) -> int:
    return image_pixels(file) * _number(fields, "num_images_per_prompt", 1)


def _video_pixels(fields: Fields, _file: bytes) -> int:
    area = _number(fields, "height", 576) * _number(fields, "width", 1024)
    return area * IMAGE_TO_VIDEO_FRAMES


def _milliseconds(_fields: Fields, file: bytes) -> int:
    seconds = whole_seconds(file)
    if seconds < 1:
        raise InputError("the audio must last a second at least")
    return seconds * MS_PER_S


def _max_tokens(fields: Fields, _file: bytes) -> int:
    return _number(fields, "max_tokens", DEFAULT_MAX_TOKENS)


def _text_bytes(fields: Fields, _file: bytes) -> int:
    text = fields.get("text")
    if not isinstance(text, str):
        raise InputError("text-to-speech needs a text")
    return len(text.encode())


_ONE_IMAGE = MappingProxyType({"num_images_per_prompt": 1})
_SIZE = MappingProxyType({"height": 512, "width": 512, "num_images_per_prompt": 1})

_ALL = (
    BatchPipeline("text-to-image", 27, "pixel", _asked_pixels, media="images", fill=_SIZE),
    BatchPipeline(
        "image-to-image", 28, "pixel", _edited_pixels, "image", media="images", fill=_ONE_IMAGE
    ),
    BatchPipeline(
        "image-to-video",
        29,
        "pixel",
        _video_pixels,
        "image",
        text_field="",
        media="images",
        downloads_only=True,
    ),
    BatchPipeline("upscale", 30, "pixel", _input_pixels, "image", media="images"),
    BatchPipeline("audio-to-text", 31, "millisecond", _milliseconds, "audio", text_field=""),
    BatchPipeline("segment-anything-2", 32, "pixel", _input_pixels, "image", text_field=""),
    BatchPipeline(
        "llm",
        33,
        "token",
        _max_tokens,
        text_field="messages",
        model_field="model",
        fill=MappingProxyType({"max_tokens": DEFAULT_MAX_TOKENS}),
    ),
    BatchPipeline("image-to-text", 34, "pixel", _input_pixels, "image"),
    BatchPipeline("text-to-speech", 36, "byte", _text_bytes, text_field="text", media="audio"),
)
PIPELINES: Mapping[str, BatchPipeline] = MappingProxyType({each.name: each for each in _ALL})


def find_pipeline(name: str) -> BatchPipeline:
    """Return a pipeline by its name.

    Raises:
        InputError: there is none; names those that there are.
    """
    try:
        return PIPELINES[name]
    except KeyError as error:
        known = ", ".join(PIPELINES)
        raise InputError(f"{name!r} is no pipeline of the network: {known}") from error
