"""Segment Anything 2 by transformers, on torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, frozen
from PIL.Image import Resampling

from podium_runner_cpu.engines.tokens import read_json
from podium_runner_cpu.errors import InferenceError, ModelUnavailable
from podium_runner_cpu.snapshots import find_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    Array = NDArray[Any]

MAX_POINTS = 256
BOX_NUMBERS = 4
COARSER = 4
"""The model's own masks have a quarter of its pictures' sides."""


@frozen
class Prompt:
    """What shows the model the thing to cut out.

    Attributes:
        point_coords: ``[[x, y], ...]``.
        point_labels: for each point 1 (inside) or 0 (outside).
        box: ``[left, top, right, bottom]``.
        mask_input: a mask of an earlier reply's ``logits``.
        multimask: three masks instead of one.
        logits: masks as numbers instead of yes and no.
        normalize: coordinates are pixels; else they are shares of the sides.
    """

    point_coords: list[Any] | None
    point_labels: list[Any] | None
    box: list[Any] | None
    mask_input: list[Any] | None
    multimask: bool
    logits: bool
    normalize: bool


@define
class Segmenter:
    """The model, once loaded."""

    _model: Any = None
    _side: int = 1024
    _mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    _deviation: tuple[float, ...] = (0.229, 0.224, 0.225)
    _device: str = "cpu"

    def load(self, model_dir: Path, model_id: str) -> None:
        """Load the model from its files alone.

        Raises:
            ModelUnavailable: packages or files are missing.
        """
        try:
            import torch
            from transformers import Sam2Model
        except ImportError as error:
            raise ModelUnavailable(f"torch and transformers: {error}") from error
        folder = find_snapshot(model_dir, model_id)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model = Sam2Model.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{folder}: {error}") from error
        said = read_json(folder / "preprocessor_config.json")
        self._mean = tuple(said.get("image_mean", self._mean))
        self._deviation = tuple(said.get("image_std", self._deviation))
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._model = model.to(self._device).eval()

    def cut(self, picture: Image, prompt: Prompt) -> tuple[Array, Array, Array]:
        """Cut out.

        Returns:
            Masks ``[n, height, width]``, scores ``[n]`` and coarse masks ``[n, h, w]``, the
            likeliest first.

        Raises:
            InferenceError: points, labels, box or mask have the wrong shapes.
        """
        import torch

        given = {"pixel_values": self._pixels(picture)} | self._shown(picture, prompt)
        tensors = {name: torch.from_numpy(a).to(self._device) for name, a in given.items()}
        with torch.inference_mode():
            out = self._model(**tensors, multimask_output=prompt.multimask)
            coarse = out.pred_masks[0].float()
            size = (picture.height, picture.width)
            fine = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0].cpu().numpy()
        scores = out.iou_scores[0, 0].float().cpu().numpy()
        order = np.argsort(-scores, kind="stable")
        masks = fine if prompt.logits else fine > 0
        return masks[order], scores[order], coarse[0].cpu().numpy()[order]

    def _pixels(self, picture: Image) -> NDArray[np.float32]:
        """Return a picture as the model was taught to see it: a square, whatever its sides."""
        square = picture.resize((self._side, self._side), Resampling.BILINEAR)
        pixels = (np.asarray(square) / 255 - np.array(self._mean)) / np.array(self._deviation)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)

    def _shown(self, picture: Image, prompt: Prompt) -> dict[str, Array]:
        """Return points, box and mask in the square's pixels."""
        one = np.array(picture.size if prompt.normalize else (1, 1))
        scale = (self._side / one).astype(np.float32)
        shown: dict[str, Array] = {}
        if prompt.point_coords is not None:
            points = _array(prompt.point_coords, "point_coords")
            labels = _array(prompt.point_labels or [], "point_labels")
            if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
                raise InferenceError("point_coords and point_labels do not belong together")
            shown["input_points"] = (points * scale)[None, None]
            shown["input_labels"] = labels.astype(np.int64)[None, None]
        if prompt.box is not None:
            box = _array(prompt.box, "box").reshape(-1)
            if box.size != BOX_NUMBERS:
                raise InferenceError("box takes four numbers")
            shown["input_boxes"] = (box * np.tile(scale, 2))[None, None]
        if prompt.mask_input is not None:
            mask = _array(prompt.mask_input, "mask_input")
            side = self._side // COARSER
            if mask.shape[-2:] != (side, side) or mask.size != side * side:
                raise InferenceError(f"mask_input takes {side} rows of {side} numbers")
            shown["input_masks"] = mask.reshape(1, 1, side, side)
        return shown


def _array(values: list[Any], name: str) -> NDArray[np.float32]:
    try:
        array = np.array(values, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InferenceError(f"{name} is no list of numbers") from error
    if not np.isfinite(array).all() or (name != "mask_input" and array.size > 2 * MAX_POINTS):
        raise InferenceError(f"{name} has too many numbers, or infinite ones")
    return array
