"""Recognises US English with PocketSphinx and the model that its package carries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from podium_runner_cpu.errors import ModelUnavailable
from podium_runner_cpu.media.audio import RATE_HZ, SAMPLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_UTTERANCE_S = 8.0
"""Longer speech is cut: an utterance's last pass holds the interpreter for 4 % of its length."""
MAX_HYPOTHESES = 5000
"""In each frame. The package's own 30 000 make noise three times as slow, and no speech better."""
STEP_BYTES = RATE_HZ // 10 * SAMPLE_BYTES
"""A tenth of a second: between steps, other threads run."""
FRAMES_PER_S = 100
FILLER = re.compile(r"^(<.*>|\[.*\]|\+\+.*\+\+)$")
VARIANT = re.compile(r"\(\d+\)$")


@frozen
class Span:
    """Something said, with the seconds at which it starts and ends."""

    start_s: float
    end_s: float
    text: str


@frozen
class Speech:
    """Samples between two pauses.

    Attributes:
        start_s: seconds from the beginning.
        samples: signed 16-bit, mono, at `RATE_HZ`.
    """

    start_s: float
    samples: bytes


@frozen
class Utterance:
    """What was recognised between two pauses; at least one word."""

    words: tuple[Span, ...]

    @property
    def text(self) -> str:
        """The words."""
        return " ".join(word.text for word in self.words)

    @property
    def span(self) -> Span:
        """All of it, as one."""
        return Span(self.words[0].start_s, self.words[-1].end_s, self.text)


@define
class Recogniser:
    """The decoder, once loaded."""

    _decoder: Any = None
    _means: str = ""

    def load(self) -> None:
        """Load the models that the package carries.

        Raises:
            ModelUnavailable: the package is not installed.
        """
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise ModelUnavailable(f"pocketsphinx: {error}") from error
        self._decoder = Decoder(samprate=RATE_HZ, maxhmmpf=MAX_HYPOTHESES, loglevel="FATAL")
        self._means = self._decoder.get_cmn()

    def utterances(self, samples: bytes) -> Iterator[Utterance]:
        """Recognise what is said.

        Args:
            samples: signed 16-bit, mono, at `RATE_HZ`.
        """
        # The decoder adapts to whom it hears; nobody's request changes the next one's answer.
        self._decoder.set_cmn(self._means)
        for speech in find_speech(samples):
            if words := tuple(self._words(speech)):
                yield Utterance(words)

    def _words(self, speech: Speech) -> Iterator[Span]:
        decoder = self._decoder
        decoder.start_utt()
        try:
            for at in range(0, len(speech.samples), STEP_BYTES):
                decoder.process_raw(speech.samples[at : at + STEP_BYTES])
        finally:
            decoder.end_utt()
        for segment in decoder.seg() or ():
            if not FILLER.match(segment.word):
                start_s = speech.start_s + segment.start_frame / FRAMES_PER_S
                end_s = speech.start_s + (segment.end_frame + 1) / FRAMES_PER_S
                yield Span(start_s, end_s, VARIANT.sub("", segment.word))


def find_speech(samples: bytes) -> Iterator[Speech]:
    """Cut sound at its pauses; no piece is longer than `MAX_UTTERANCE_S`."""
    from pocketsphinx import Endpointer

    ends = Endpointer(sample_rate=RATE_HZ)
    limit = int(MAX_UTTERANCE_S * RATE_HZ) * SAMPLE_BYTES
    speech = bytearray()
    start_s = 0.0
    for at in range(0, len(samples), ends.frame_bytes):
        frame = samples[at : at + ends.frame_bytes]
        last = at + ends.frame_bytes >= len(samples)
        if heard := ends.end_stream(frame) if last else ends.process(frame):
            start_s = max(start_s, ends.speech_start)
            speech += heard
        if speech and (last or not ends.in_speech or len(speech) >= limit):
            yield Speech(start_s, bytes(speech))
            start_s += len(speech) / SAMPLE_BYTES / RATE_HZ
            speech.clear()
