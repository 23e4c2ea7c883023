"""The Gateway client for AI jobs: text, images, audio and video through paid orchestrators.

``AiGateway`` is all that most need; the rest can be used, and bent, part by part.
"""

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
