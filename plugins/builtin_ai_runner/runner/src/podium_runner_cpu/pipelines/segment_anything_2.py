"""segment-anything-2: cuts out what points and boxes show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import define, field

from podium_runner_cpu.engines.sam2 import Prompt, Segmenter
from podium_runner_cpu.errors import InvalidRequest
from podium_runner_cpu.fields import Field, Upload
from podium_runner_cpu.media.images import decode_image
from podium_runner_cpu.pipelines.base import Pipeline

if TYPE_CHECKING:
    from podium_runner_cpu.fields import Values

JSON_FIELDS = ("point_coords", "point_labels", "box", "mask_input")


@define
class SegmentAnything2(Pipeline):
    """Masks for a picture; each value of the reply is the text of a nested list."""

    name: ClassVar[str] = "segment-anything-2"
    title: ClassVar[str] = "Segment-anything-2"
    fields: ClassVar[tuple[Field, ...]] = (
        Field("image", "file", required=True),
        Field("model_id", default=""),
        *(Field(name) for name in JSON_FIELDS),
        Field("multimask_output", "bool", default=True),
        Field("return_logits", "bool", default=True),
        Field("normalize_coords", "bool", default=True),
    )

    _segmenter: Segmenter = field(factory=Segmenter)

    def load(self) -> None:
        """Load the model."""
        self._segmenter.load(self.settings.model_dir, self.settings.model_id)

    def run(self, values: Values) -> dict[str, object]:
        """Cut out; the likeliest mask comes first."""
        prompt = Prompt(
            **{name: parse_list(values, name) for name in JSON_FIELDS},
            multimask=bool(values["multimask_output"]),
            logits=bool(values["return_logits"]),
            normalize=bool(values["normalize_coords"]),
        )
        upload = cast("Upload", values["image"])
        limits = self.settings.limits
        picture = decode_image(upload.data, limits, limits.side)
        masks, scores, logits = self._segmenter.cut(picture, prompt)
        texts = (str(values.tolist()) for values in (masks, scores, logits))
        return dict(zip(("masks", "scores", "logits"), texts, strict=True))


def parse_list(values: Values, name: str) -> list[Any] | None:
    """Return the nested list that a field holds, or None when it is left out.

    Raises:
        InvalidRequest: it holds no JSON list.
    """
    text = values[name]
    if text is None or text == "":
        return None
    try:
        given = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"Error parsing JSON for {name}: {error}") from error
    if not isinstance(given, list):
        raise InvalidRequest(f"Error parsing JSON for {name}: not a list")
    return given
