"""How much work a job is (ai 2.4, payments 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium_hookspecs import BadInput

from podium_ai_runner.pipelines.describe import Counting, Description

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEO_FRAMES = 25
MAX_UNITS = 2**63 - 1
MAX_VIDEO_SIDE = 4096


def count(description: Description, values: Mapping[str, Any], measured: int) -> int:
    """Return a job's units.

    Text to speech is counted in bytes of its text, as gateways pay for it. The reference charges
    a thousand times the characters: whoever does so sees every payer's balance sink below one
    ticket, and refuses the next request of a sender who paid what it believed to owe.

    Args:
        description: The pipeline.
        values: The request's fields.
        measured: Of the file: pixels of an image, milliseconds of audio.

    Raises:
        BadInput: a number that is multiplied makes no sense.
    """

    def given(name: str) -> int:
        field = description.field(name)
        value = values.get(name, field.price_default if field else None)
        number = 1 if value is None else int(value)
        if number < 1:
            raise BadInput(f"{name} must be at least 1")
        return number

    match description.units:
        case Counting.PICTURE:
            units = given("height") * given("width") * given("num_images_per_prompt")
        case Counting.INPUT_PICTURES:
            units = measured * given("num_images_per_prompt")
        case Counting.FRAMES:
            if max(given("height"), given("width")) > MAX_VIDEO_SIDE:
                raise BadInput(f"a video has at most {MAX_VIDEO_SIDE} pixels a side")
            units = given("height") * given("width") * VIDEO_FRAMES
        case Counting.TOKENS:
            units = values["max_tokens"]
        case Counting.BYTES:
            units = len(values["text"].encode())
        case _:
            units = measured
    if not 0 <= units <= MAX_UNITS:
        raise BadInput(f"{units} {description.unit}s cannot be done")
    return units
