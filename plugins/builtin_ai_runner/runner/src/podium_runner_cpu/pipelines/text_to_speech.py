"""text-to-speech: says a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import define, field

from podium_runner_cpu.engines.voice import Speaker, voice_of
from podium_runner_cpu.errors import InferenceError, InvalidRequest
from podium_runner_cpu.fields import Field
from podium_runner_cpu.media.audio import wav_url
from podium_runner_cpu.pipelines.base import Encoding, Pipeline

if TYPE_CHECKING:
    from podium_runner_cpu.fields import Values

DESCRIPTION = (
    "A male speaker delivers a slightly expressive and animated speech with a moderate speed and"
    " pitch."
)


@define
class TextToSpeech(Pipeline):
    """Formant synthesis; the description chooses voice, speed and pitch."""

    name: ClassVar[str] = "text-to-speech"
    title: ClassVar[str] = "Text-to-speech"
    encoding: ClassVar[Encoding] = "json"
    oom_text: ClassVar[str] = "Out of memory error. Try reducing the text's length."
    checks_first: ClassVar[bool] = True
    fields: ClassVar[tuple[Field, ...]] = (
        Field("model_id", default=""),
        Field("text", default=""),
        Field("description", default=DESCRIPTION),
    )

    _speaker: Speaker = field(factory=Speaker)

    def load(self) -> None:
        """Look for the program and the voice's language."""
        self._speaker.load(self.settings.model_id)

    def check(self, values: Values) -> None:
        """Refuse an empty text."""
        if not values["text"]:
            raise InvalidRequest("Text input must be provided.")

    def run(self, values: Values) -> dict[str, object]:
        """Return the sound as a data URL."""
        text = str(values["text"])
        if len(text) > self.settings.limits.text_chars:
            limit = self.settings.limits.text_chars
            raise InferenceError(f"The text has {len(text)} characters; the limit is {limit}")
        voice = voice_of(str(values["description"]))
        samples, rate_hz = self._speaker.say(text, voice, self.settings.limits.speech_s)
        return {"audio": {"url": wav_url(samples, rate_hz)}}

    def close(self) -> None:
        """End the program if it runs."""
        self._speaker.close()
