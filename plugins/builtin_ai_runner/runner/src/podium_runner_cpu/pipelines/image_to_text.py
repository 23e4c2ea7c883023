"""image-to-text: reads the text in a picture."""

from __future__ import annotations

from typing import ClassVar

from attrs import define, field

from podium_runner_cpu.engines.ocr import TextReader
from podium_runner_cpu.fields import Field, Upload, Values
from podium_runner_cpu.media.images import decode_image
from podium_runner_cpu.pipelines.base import Pipeline


@define
class ImageToText(Pipeline):
    """Optical character recognition; the prompt is accepted and changes nothing."""

    name: ClassVar[str] = "image-to-text"
    title: ClassVar[str] = "Image-to-text"
    unauthorized_text: ClassVar[str] = "Invalid bearer token"
    fields: ClassVar[tuple[Field, ...]] = (
        Field("image", "file", required=True),
        Field("prompt", default=""),
        Field("model_id", default=""),
    )

    _reader: TextReader = field(factory=TextReader)

    def load(self) -> None:
        """Load both networks, and run them once: the first run is many times slower."""
        self._reader.load()

    def run(self, values: Values) -> dict[str, object]:
        """Return the lines of text, top to bottom."""
        image = values["image"]
        assert isinstance(image, Upload)
        return {"text": self._reader.read(decode_image(image.data, self.settings.limits))}
