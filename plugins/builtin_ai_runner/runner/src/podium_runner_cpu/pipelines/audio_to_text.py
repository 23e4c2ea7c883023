"""audio-to-text: writes down what is said."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, ClassVar

from attrs import define, field

from podium_runner_cpu.engines.speech import Recogniser, Span, Utterance
from podium_runner_cpu.errors import InferenceError, InvalidRequest
from podium_runner_cpu.fields import Field, Upload, Values
from podium_runner_cpu.media.audio import decode_audio, probe_duration_s
from podium_runner_cpu.pipelines.base import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable

SENTENCE = {"true", "1", "sentence"}
NONE = {"false", "0"}
WORD = "word"


@define
class AudioToText(Pipeline):
    """Speech recognition; sentences are what stands between pauses."""

    name: ClassVar[str] = "audio-to-text"
    title: ClassVar[str] = "Audio-to-text"
    oom_text: ClassVar[str] = "Out of memory error. Try reducing the audio's length."
    fields: ClassVar[tuple[Field, ...]] = (
        Field("audio", "file", required=True),
        Field("model_id", default=""),
        Field("return_timestamps", default="true"),
        Field("metadata", default="{}"),
    )

    _recogniser: Recogniser = field(factory=Recogniser)

    def load(self) -> None:
        """Load the acoustic model, the dictionary and the language model."""
        self._recogniser.load()

    def run(self, values: Values) -> dict[str, object]:
        """Return the text, and its parts with the seconds at which they start and end."""
        audio = values["audio"]
        assert isinstance(audio, Upload)
        level = str(values["return_timestamps"]).lower()
        if level not in SENTENCE | NONE | {WORD}:
            raise ValueError(level)  # as the model's library would
        max_s = self.settings.limits.audio_s
        if duration_s(str(values["metadata"]), audio.data) > max_s:
            raise InferenceError(f"The audio is longer than {max_s:g} seconds")
        utterances = list(self._recogniser.utterances(decode_audio(audio.data, max_s)))
        return {
            "text": " ".join(utterance.text for utterance in utterances),
            "chunks": [chunk(span) for span in spans(utterances, level)],
        }


def spans(utterances: Iterable[Utterance], level: str) -> Iterable[Span]:
    """Return what gets a timestamp of its own: sentences, words or nothing."""
    if level in NONE:
        return []
    if level == WORD:
        return [word for utterance in utterances for word in utterance.words]
    return [utterance.span for utterance in utterances]


def chunk(span: Span) -> dict[str, object]:
    """Return a part as the reply shows it."""
    return {"timestamp": [round(span.start_s, 2), round(span.end_s, 2)], "text": span.text}


def duration_s(metadata: str, audio: bytes) -> float:
    """Return the seconds that the request's metadata says, or else the file itself.

    Raises:
        InvalidRequest: neither says it.
    """
    said = _said_s(metadata)
    seconds = probe_duration_s(audio) if said is None else said
    if seconds is None:
        raise InvalidRequest("Unable to calculate duration of file")
    return seconds


def _said_s(metadata: str) -> float | None:
    try:
        seconds = float(json.loads(metadata)["duration"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
