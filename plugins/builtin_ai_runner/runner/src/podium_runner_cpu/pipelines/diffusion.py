"""text-to-image, image-to-image, image-to-video and upscale: diffusion models of diffusers."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import define, field

from podium_runner_cpu.engines.diffusers import Diffuser, parse_loras
from podium_runner_cpu.errors import InferenceError, InvalidRequest
from podium_runner_cpu.fields import Field, Upload
from podium_runner_cpu.media.images import decode_image, png_url
from podium_runner_cpu.pipelines.base import Encoding, Pipeline

if TYPE_CHECKING:
    from PIL.Image import Image

    from podium_runner_cpu.fields import Values

SEEDS = 2**32
SIDE_STEP = 8

SHARED = (
    Field("model_id", default=""),
    Field("safety_check", "bool", default=True),
    Field("seed", "int"),
)
PROMPTED = (
    Field("prompt", required=True),
    Field("loras", default=""),
    Field("guidance_scale", "float", default=7.5),
    Field("negative_prompt", default=""),
    Field("num_images_per_prompt", "int", default=1, low=1),
)


@define
class Diffusion(Pipeline):
    """What the four have in common.

    Attributes:
        loader: the class of diffusers that loads the model.
    """

    loader: ClassVar[str]

    _diffuser: Diffuser = field(factory=Diffuser)

    def load(self) -> None:
        """Load the model, and the checker of its pictures."""
        self._diffuser.load(self.settings.model_dir, self.settings.model_id, self.loader)

    def run(self, values: Values) -> dict[str, object]:
        """Check what it would cost, then make the pictures."""
        limits = self.settings.limits
        self._at_most(values, "num_inference_steps", limits.steps)
        self._at_most(values, "num_images_per_prompt", limits.images)
        self._at_most(values, "height", limits.side)
        self._at_most(values, "width", limits.side)
        return self.make(values)

    @abstractmethod
    def make(self, values: Values) -> dict[str, object]:
        """Make the pictures. Blocks."""

    def picture(self, values: Values) -> Image:
        """Return the uploaded picture, decoded."""
        upload = cast("Upload", values["image"])
        limits = self.settings.limits
        return decode_image(upload.data, limits, limits.side)

    def images(self, values: Values, arguments: dict[str, Any]) -> list[dict[str, object]]:
        """Make pictures with one seed each, and say which are not safe for work."""
        count = cast("int", values.get("num_images_per_prompt", 1))
        first = seed_of(values)
        seeds = [first + number for number in range(count)]
        if count > 1:
            arguments["num_images_per_prompt"] = count
        loras = parse_loras(str(values.get("loras", "")))
        pictures = self._diffuser.make(arguments, seeds, loras)
        checks = bool(values["safety_check"])
        nsfw = self._diffuser.nsfw(pictures) if checks else [False] * len(pictures)
        return [
            {"url": png_url(picture), "seed": seed, "nsfw": flag}
            for picture, seed, flag in zip(pictures, seeds, nsfw, strict=True)
        ]

    def _at_most(self, values: Values, name: str, limit: int) -> None:
        value = values.get(name)
        if isinstance(value, int) and value > limit:
            raise InferenceError(f"{name} is {value}; the limit is {limit}")


def seed_of(values: Values) -> int:
    """Return the request's seed, or one drawn for it; 0 counts as none for some callers."""
    seed = values["seed"]
    return secrets.randbelow(SEEDS) if seed is None else cast("int", seed)


def divisible(values: Values, name: str) -> None:
    """Refuse a height and width that the models cannot make.

    Raises:
        InvalidRequest: one of them is no multiple of 8.
    """
    height, width = cast("int", values["height"]), cast("int", values["width"])
    if height % SIDE_STEP or width % SIDE_STEP:
        text = f"`height` and `width` have to be divisible by 8 but are {height} and {width}."
        raise InvalidRequest(text)


@define
class TextToImage(Diffusion):
    """Makes pictures from a text."""

    name: ClassVar[str] = "text-to-image"
    title: ClassVar[str] = "Text-to-image"
    encoding: ClassVar[Encoding] = "json"
    checks_first: ClassVar[bool] = True
    oom_text: ClassVar[str] = "Out of memory error. Try reducing output image resolution."
    loader: ClassVar[str] = "AutoPipelineForText2Image"
    fields: ClassVar[tuple[Field, ...]] = (
        *SHARED,
        *PROMPTED,
        Field("height", "int", default=576, low=SIDE_STEP),
        Field("width", "int", default=1024, low=SIDE_STEP),
        Field("num_inference_steps", "int", default=50, low=1),
    )

    def check(self, values: Values) -> None:
        """Refuse an empty prompt."""
        if not values["prompt"]:
            raise InvalidRequest("Prompt must be provided.")

    def make(self, values: Values) -> dict[str, object]:
        """Make the pictures."""
        names = ("prompt", "height", "width", "guidance_scale", "negative_prompt")
        arguments = {name: values[name] for name in (*names, "num_inference_steps")}
        return {"images": self.images(values, arguments)}


@define
class ImageToImage(Diffusion):
    """Makes pictures from a picture and a text."""

    name: ClassVar[str] = "image-to-image"
    title: ClassVar[str] = "Image-to-image"
    loader: ClassVar[str] = "AutoPipelineForImage2Image"
    fields: ClassVar[tuple[Field, ...]] = (
        *SHARED,
        *PROMPTED,
        Field("image", "file", required=True),
        Field("strength", "float", default=0.8, low=0, high=1),
        Field("image_guidance_scale", "float", default=1.5),
        Field("num_inference_steps", "int", default=100, low=1),
    )

    def make(self, values: Values) -> dict[str, object]:
        """Make the pictures."""
        names = ("prompt", "strength", "guidance_scale", "negative_prompt", "image_guidance_scale")
        arguments = {name: values[name] for name in (*names, "num_inference_steps")}
        return {"images": self.images(values, arguments | {"image": self.picture(values)})}


@define
class Upscale(Diffusion):
    """Makes a picture four times as large."""

    name: ClassVar[str] = "upscale"
    title: ClassVar[str] = "Upscale"
    loader: ClassVar[str] = "StableDiffusionUpscalePipeline"
    fields: ClassVar[tuple[Field, ...]] = (
        *SHARED,
        Field("image", "file", required=True),
        Field("prompt", required=True),
        Field("num_inference_steps", "int", default=75, low=1),
    )

    def make(self, values: Values) -> dict[str, object]:
        """Make the picture; a seed of 0 counts as none."""
        arguments = {name: values[name] for name in ("prompt", "num_inference_steps")}
        given = values | {"seed": values["seed"] or None}
        return {"images": self.images(given, arguments | {"image": self.picture(values)})}


@define
class ImageToVideo(Diffusion):
    """Makes the frames of a short video from a picture."""

    name: ClassVar[str] = "image-to-video"
    title: ClassVar[str] = "Image-to-video"
    oom_text: ClassVar[str] = "Out of memory error. Try reducing output image resolution."
    loader: ClassVar[str] = "StableVideoDiffusionPipeline"
    fields: ClassVar[tuple[Field, ...]] = (
        *SHARED,
        Field("image", "file", required=True),
        Field("height", "int", default=576, low=1),
        Field("width", "int", default=1024, low=1),
        Field("fps", "int", default=6, low=1),
        Field("motion_bucket_id", "int", default=127),
        Field("noise_aug_strength", "float", default=0.02),
        Field("num_inference_steps", "int", default=25, low=1),
    )

    def make(self, values: Values) -> dict[str, object]:
        """Make the frames: one batch, all of one seed."""
        divisible(values, self.name)
        seed = seed_of(values)
        names = ("height", "width", "fps", "motion_bucket_id", "noise_aug_strength")
        arguments = {name: values[name] for name in (*names, "num_inference_steps")}
        frames = self._diffuser.frames(arguments | {"image": self.picture(values)}, seed)
        checks = bool(values["safety_check"])
        nsfw = self._diffuser.nsfw(frames[:1])[0] if checks else False
        batch = [{"url": png_url(frame), "seed": seed, "nsfw": nsfw} for frame in frames]
        return {"frames": [batch]}
