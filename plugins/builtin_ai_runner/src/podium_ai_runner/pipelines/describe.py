"""The nine batch pipelines, described once (ai 1.3, 2.4).

From a description come the parsing of requests, how numbers are written when they are forwarded,
the units of a job, what an answer must look like, and the OpenAPI document.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import field, frozen

KIB = 2**10
MIB = 2**20
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class Kind(Enum):
    """What a field holds; the value is the type's name in decoder messages."""

    TEXT = "string"
    INT = "int"
    FLOAT = "float32"
    BOOL = "bool"
    MESSAGES = "[]worker.LLMMessage"


class Measure(Enum):
    """What is read of a job's file before it is priced."""

    NOTHING = "nothing"
    IMAGE = "image"
    AUDIO = "audio"


class Answer(Enum):
    """What the runner answers, and so what may be passed on."""

    IMAGES = "images"
    VIDEO = "video"
    AUDIO = "audio"
    TRANSCRIPT = "transcript"
    MASKS = "masks"
    TEXT = "text"
    CHAT = "chat"


class Counting(Enum):
    """How a job's units are counted (ai 2.4)."""

    PICTURE = "height x width x num_images_per_prompt of the request"
    INPUT_PICTURES = "height x width of the input image x num_images_per_prompt"
    INPUT = "height x width of the input image"
    FRAMES = "height x width of the request x 25 frames"
    AUDIO = "whole seconds of the audio, in milliseconds"
    TOKENS = "max_tokens of the request"
    BYTES = "bytes of text, in UTF-8"


@frozen
class Field:
    """One field of a request.

    Attributes:
        name: Its key, or the name of its part.
        kind: What it holds.
        help: One line for people.
        required: A text that is sent as ``""`` when the request has none, as the reference does,
            so that the runner says what is missing; or, with ``missing``, a request without is
            refused here.
        missing: The refusal of a request without it.
        runner_default: What the runner takes where it is absent.
        price_default: What the price assumes where it is absent.
        max_bytes: Largest text.
    """

    name: str
    kind: Kind
    help: str
    required: bool = False
    missing: str = ""
    runner_default: Any = None
    price_default: int | None = None
    max_bytes: int = 256 * KIB


@frozen
class File:
    """The file of a multipart request.

    Attributes:
        name: The name of its part.
        measure: What is read of it here.
        missing: The refusal of a request without it.
        max_bytes: What the runner takes; None: whatever fits into a request.
    """

    name: str
    measure: Measure
    missing: str
    max_bytes: int | None = None


@frozen
class Description:
    """One pipeline.

    Attributes:
        name: Its path, its name in the configuration, and the runner's path.
        capability: The network's number.
        label: How error texts name it.
        title: For people.
        help: One line for people.
        type_name: The request's type in decoder messages.
        model_field: The field that names the model.
        fields: All fields but the file.
        answer: What comes back.
        unit: What is counted.
        units: How.
        file: Present when the request is multipart, else it is JSON.
        label_422: The label in the text for status 422, where it is irregular.
        text_413: The text for status 413, where there is one.
        passes_415: Whether status 415 has a text of its own.
    """

    name: str
    capability: int
    title: str
    help: str
    type_name: str
    fields: tuple[Field, ...]
    answer: Answer
    unit: str
    units: Counting
    model_field: str = "model_id"
    file: File | None = None
    label: str = field(default="")
    label_422: str = ""
    text_413: str = ""
    passes_415: bool = False

    @property
    def labelled(self) -> str:
        """The label in error texts."""
        return self.label or self.name

    def field(self, name: str) -> Field | None:
        """Return a field by its name."""
        return next((one for one in self.fields if one.name == name), None)


NO_IMAGE = "image: unknown format"
NO_DURATION = "Unable to calculate duration"
TOO_LARGE = "file too large; max file size is 50MB"
RUNNER_FILE_BYTES = 50 * MIB


def _model(name: str = "model_id") -> Field:
    missing = "ModelId not specified" if name == "model_id" else "Model not specified"
    return Field(name, Kind.TEXT, "Which model.", required=True, missing=missing, max_bytes=KIB)


def _prompt() -> Field:
    return Field("prompt", Kind.TEXT, "What is wanted, in words.", required=True)


LORAS = Field("loras", Kind.TEXT, 'A JSON object: {"repository": weight}.', runner_default="")
GUIDANCE = Field(
    "guidance_scale", Kind.FLOAT, "How closely the prompt is followed.", runner_default=7.5
)
NEGATIVE = Field("negative_prompt", Kind.TEXT, "What is not wanted.", runner_default="")
SAFETY = Field("safety_check", Kind.BOOL, "Mark what is not safe for work.", runner_default=True)
SEED = Field("seed", Kind.INT, "The same seed, the same result; random when absent.")
IMAGES = Field("num_images_per_prompt", Kind.INT, "How many.", runner_default=1, price_default=1)


def _steps(default: int) -> Field:
    return Field(
        "num_inference_steps", Kind.INT, "More take longer and look better.", runner_default=default
    )


def _side(name: str, runner_default: int, price_default: int) -> Field:
    return Field(
        name,
        Kind.INT,
        f"The result's {name}, in pixels.",
        runner_default=runner_default,
        price_default=price_default,
    )


TEXT_TO_IMAGE = Description(
    name="text-to-image",
    capability=27,
    title="Text to image",
    help="Images from a text.",
    type_name="TextToImageParams",
    fields=(
        _prompt(),
        _model(),
        LORAS,
        _side("height", 576, 512),
        _side("width", 1024, 512),
        GUIDANCE,
        NEGATIVE,
        SAFETY,
        SEED,
        _steps(50),
        IMAGES,
    ),
    answer=Answer.IMAGES,
    unit="pixel",
    units=Counting.PICTURE,
)

IMAGE_TO_IMAGE = Description(
    name="image-to-image",
    capability=28,
    title="Image to image",
    help="Images from an image and a text.",
    type_name="GenImageToImageMultipartBody",
    file=File("image", Measure.IMAGE, NO_IMAGE),
    fields=(
        _prompt(),
        _model(),
        LORAS,
        Field("strength", Kind.FLOAT, "How far from the input.", runner_default=0.8),
        GUIDANCE,
        Field("image_guidance_scale", Kind.FLOAT, "How closely to the input.", runner_default=1.5),
        NEGATIVE,
        SAFETY,
        SEED,
        _steps(100),
        IMAGES,
    ),
    answer=Answer.IMAGES,
    unit="pixel",
    units=Counting.INPUT_PICTURES,
)

IMAGE_TO_VIDEO = Description(
    name="image-to-video",
    capability=29,
    title="Image to video",
    help="A short video that begins with an image.",
    type_name="GenImageToVideoMultipartBody",
    file=File("image", Measure.NOTHING, "Image not specified"),
    fields=(
        _model(),
        _side("height", 576, 576),
        _side("width", 1024, 1024),
        Field("fps", Kind.INT, "Frames of the video for each second.", runner_default=6),
        Field("motion_bucket_id", Kind.INT, "How much moves.", runner_default=127),
        Field("noise_aug_strength", Kind.FLOAT, "How far from the input.", runner_default=0.02),
        SAFETY,
        SEED,
        _steps(25),
    ),
    answer=Answer.VIDEO,
    unit="pixel",
    units=Counting.FRAMES,
)

UPSCALE = Description(
    name="upscale",
    capability=30,
    title="Upscale",
    help="A larger image.",
    type_name="GenUpscaleMultipartBody",
    file=File("image", Measure.IMAGE, NO_IMAGE),
    fields=(_prompt(), _model(), SAFETY, SEED, _steps(75)),
    answer=Answer.IMAGES,
    unit="pixel",
    units=Counting.INPUT,
)

AUDIO_TO_TEXT = Description(
    name="audio-to-text",
    capability=31,
    title="Audio to text",
    help="What is said, with times.",
    type_name="GenAudioToTextMultipartBody",
    file=File("audio", Measure.AUDIO, NO_DURATION, RUNNER_FILE_BYTES),
    fields=(
        _model(),
        Field(
            "return_timestamps",
            Kind.TEXT,
            "true, 1 or sentence: for sentences; word: for words; false or 0: none.",
            runner_default="true",
        ),
        Field("metadata", Kind.TEXT, "A JSON object, with the duration.", runner_default="{}"),
    ),
    answer=Answer.TRANSCRIPT,
    unit="millisecond",
    units=Counting.AUDIO,
    text_413=f"audio-to-text container returned 413: {TOO_LARGE}",
    passes_415=True,
)

SEGMENT_ANYTHING_2 = Description(
    name="segment-anything-2",
    capability=32,
    label="segment anything 2",
    title="Segment anything 2",
    help="Masks of what an image shows.",
    type_name="GenSegmentAnything2MultipartBody",
    file=File("image", Measure.IMAGE, NO_IMAGE),
    fields=(
        _model(),
        Field("point_coords", Kind.TEXT, "A JSON array of points, [[x, y], ...]."),
        Field("point_labels", Kind.TEXT, "A JSON array: 1 for foreground, 0 for background."),
        Field("box", Kind.TEXT, "A JSON array, [x0, y0, x1, y1]."),
        Field("mask_input", Kind.TEXT, "A JSON array: a mask to begin with.", max_bytes=8 * MIB),
        Field("multimask_output", Kind.BOOL, "Several masks.", runner_default=True),
        Field("return_logits", Kind.BOOL, "Logits in place of bits.", runner_default=True),
        Field("normalize_coords", Kind.BOOL, "Points are in pixels.", runner_default=True),
    ),
    answer=Answer.MASKS,
    unit="pixel",
    units=Counting.INPUT,
)

LLM = Description(
    name="llm",
    capability=33,
    label="LLM",
    title="Llm",
    help="A chat with a language model, whole or as server-sent events.",
    type_name="LLMRequest",
    model_field="model",
    fields=(
        Field(
            "messages",
            Kind.MESSAGES,
            "The conversation: role (system, user or assistant) and content of each.",
            required=True,
            max_bytes=4 * MIB,
        ),
        _model("model"),
        Field(
            "max_tokens",
            Kind.INT,
            "Most tokens of the answer; what is paid for.",
            required=True,
            missing="MaxTokens not specified",
        ),
        Field("temperature", Kind.FLOAT, "0 to 2.", runner_default=0.7),
        Field("top_p", Kind.FLOAT, "0 to 1.", runner_default=1.0),
        Field("top_k", Kind.INT, "-1: all.", runner_default=-1),
        Field("stream", Kind.BOOL, "Answer with events.", runner_default=False),
    ),
    answer=Answer.CHAT,
    unit="token",
    units=Counting.TOKENS,
)

IMAGE_TO_TEXT = Description(
    name="image-to-text",
    capability=34,
    title="Image to text",
    help="What an image shows, in words.",
    type_name="GenImageToTextMultipartBody",
    file=File("image", Measure.IMAGE, NO_IMAGE, RUNNER_FILE_BYTES),
    fields=(
        Field("prompt", Kind.TEXT, "What to look for.", runner_default=""),
        _model(),
    ),
    answer=Answer.TEXT,
    unit="pixel",
    units=Counting.INPUT,
    label_422="image-to-text ",
    text_413=f"image-to-text container returned 413 {TOO_LARGE}",
)

TEXT_TO_SPEECH = Description(
    name="text-to-speech",
    capability=36,
    title="Text to speech",
    help="A text, spoken.",
    type_name="TextToSpeechParams",
    fields=(
        _model(),
        Field(
            "text",
            Kind.TEXT,
            "What is said.",
            required=True,
            missing="Text not specified",
            max_bytes=4 * MIB,
        ),
        Field("description", Kind.TEXT, "How it is said."),
    ),
    answer=Answer.AUDIO,
    unit="byte",
    units=Counting.BYTES,
)

PIPELINES: tuple[Description, ...] = (
    TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_VIDEO,
    UPSCALE,
    AUDIO_TO_TEXT,
    SEGMENT_ANYTHING_2,
    LLM,
    IMAGE_TO_TEXT,
    TEXT_TO_SPEECH,
)
"""All batch pipelines, by capability."""

BY_NAME = {one.name: one for one in PIPELINES}
BY_CAPABILITY = {one.capability: one for one in PIPELINES}
