"""The error texts of the video protocol, as typed errors.

Gateways match these texts as whole strings (wire-video 6.5), so ``public`` is
exactly one of them and everything else goes into the message.
"""

from __future__ import annotations

from podium_hookspecs import BadInput, JobFailed, PluginError

INVALID_VIDEO = "TranscoderInvalidVideo"
INVALID_DURATION = "TranscoderInvalidDuration"
INVALID_RESOLUTION = "TranscoderInvalidResolution"
INVALID_GOP = "TranscoderInvalidGOP"
INVALID_CLIP = "TranscoderInvalidClipConfig"
INVALID_DATA = "Invalid data found when processing input"
INVALID_ARGUMENT = "Invalid argument"
NO_KEYFRAMES = "No keyframes in input"
TOO_MANY_OUTPUTS = "Too many outputs"
UNSUPPORTED_CODEC = "Unsupported input codec"
UNSUPPORTED_PIXEL_FORMAT = "Unsupported input pixel format"
FILTER_FAILED = "Error initializing filtergraph"
ENCODER_NOT_FOUND = "Encoder not found"
MUXER_NOT_FOUND = "Muxer not found"
RUNAWAY = "Encoded frames runaway"
STOPPED = "TranscoderStopped"

NOT_RETRYABLE = frozenset(
    {
        UNSUPPORTED_PIXEL_FORMAT,
        FILTER_FAILED,
        TOO_MANY_OUTPUTS,
        UNSUPPORTED_CODEC,
        NO_KEYFRAMES,
        "Unrecoverable state, restart process",
        RUNAWAY,
        "Decoder not found",
        "Demuxer not found",
        ENCODER_NOT_FOUND,
        MUXER_NOT_FOUND,
        "Option not found",
        INVALID_ARGUMENT,
        INVALID_RESOLUTION,
        INVALID_VIDEO,
        "TranscoderUnrecognizedFormat",
        "TranscoderUnrecognizedProfile",
        INVALID_GOP,
        "TranscoderIncompatibleDevices",
    }
)
"""After one of these a gateway neither retries the segment nor drops the node."""

CLIENTS_FAULT = NOT_RETRYABLE | {INVALID_CLIP, INVALID_DURATION}


def refusal(public: str, detail: str = "") -> PluginError:
    """Build the error for one of the protocol's texts.

    Args:
        public: The exact text for the gateway.
        detail: For the operator: what was wrong with which input.

    Returns:
        ``BadInput`` when the input or the request is at fault, else ``JobFailed``.
    """
    message = f"{public}: {detail}" if detail else public
    kind = BadInput if public in CLIENTS_FAULT else JobFailed
    return kind(message, public=public)
