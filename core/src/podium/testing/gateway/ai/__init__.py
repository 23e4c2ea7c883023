"""The Gateway client for AI jobs: text, images, audio and video through paid orchestrators.

``AiGateway`` is all that most need; the rest can be used, and bent, part by part. Names are
imported at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.testing.gateway.ai.client import AiGateway, AiResult
    from podium.testing.gateway.ai.errors import (
        AiError,
        AnswerRefused,
        MediaLost,
        NobodyAnswered,
        RequestRefused,
    )
    from podium.testing.gateway.ai.media import Media
    from podium.testing.gateway.ai.pipelines import PIPELINES, BatchPipeline, Upload
    from podium.testing.gateway.ai.session import StreamCut

_HOMES = {
    "client": ("AiGateway", "AiResult"),
    "errors": ("AiError", "AnswerRefused", "MediaLost", "NobodyAnswered", "RequestRefused"),
    "media": ("Media",),
    "pipelines": ("PIPELINES", "BatchPipeline", "Upload"),
    "session": ("StreamCut",),
}

__all__ = [
    "PIPELINES",
    "AiError",
    "AiGateway",
    "AiResult",
    "AnswerRefused",
    "BatchPipeline",
    "Media",
    "MediaLost",
    "NobodyAnswered",
    "RequestRefused",
    "StreamCut",
    "Upload",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
