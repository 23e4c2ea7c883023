"""Which class serves which pipeline; each is imported only where it is wanted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from podium_runner_cpu.settings import Settings, SettingsError

if TYPE_CHECKING:
    from podium_runner_cpu.pipelines.base import Pipeline

PIPELINES = {
    "audio-to-text": "audio_to_text:AudioToText",
    "image-to-image": "diffusion:ImageToImage",
    "image-to-text": "image_to_text:ImageToText",
    "image-to-video": "diffusion:ImageToVideo",
    "llm": "llm:Llm",
    "segment-anything-2": "segment_anything_2:SegmentAnything2",
    "text-to-image": "diffusion:TextToImage",
    "text-to-speech": "text_to_speech:TextToSpeech",
    "upscale": "diffusion:Upscale",
}


def make_pipeline(settings: Settings) -> Pipeline:
    """Make the pipeline that the settings name; its model is not loaded yet.

    Raises:
        SettingsError: there is no such pipeline, or its packages are not installed.
    """
    place = PIPELINES.get(settings.pipeline)
    if place is None:
        raise SettingsError(f"PIPELINE={settings.pipeline}: not one of {', '.join(PIPELINES)}")
    module, _, name = place.partition(":")
    try:
        made = getattr(import_module(f".pipelines.{module}", __package__), name)
    except ImportError as error:
        raise SettingsError(f"PIPELINE={settings.pipeline} needs more packages: {error}") from error
    return cast("Pipeline", made(settings))
