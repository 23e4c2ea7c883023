"""Segment Anything 2 by transformers, on torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, frozen

from podium_runner_cpu.errors import InferenceError, ModelUnavailable
from podium_runner_cpu.snapshots import find_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    Array = NDArray[Any]

MAX_POINTS = 256


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
    _processor: Any = None
    _device: str = "cpu"

    def load(self, model_dir: Path, model_id: str) -> None:
        """Load the model from its files alone.

        Raises:
            ModelUnavailable: packages or files are missing.
        """
        try:
            import torch
            from transformers import Sam2Model, Sam2Processor
        except ImportError as error:
            raise ModelUnavailable(f"torch and transformers: {error}") from error
        folder = find_snapshot(model_dir, model_id)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model = Sam2Model.from_pretrained(folder, local_files_only=True)
            self._processor = Sam2Processor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{folder}: {error}") from error
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

        inputs = self._processor(
            images=picture, return_tensors="pt", **self._shown(picture, prompt)
        )
        sizes = inputs.pop("original_sizes")
        if prompt.mask_input is not None:
            mask = _array(prompt.mask_input, "mask_input")
            inputs["input_masks"] = torch.from_numpy(mask.reshape(1, 1, *mask.shape[-2:]))
        given = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            out = self._model(**given, multimask_output=prompt.multimask)
        masks = self._processor.post_process_masks(
            out.pred_masks.cpu(), sizes, binarize=not prompt.logits
        )
        scores = out.iou_scores[0, 0].float().cpu().numpy()
        order = np.argsort(-scores, kind="stable")
        coarse = out.pred_masks[0, 0].float().cpu().numpy()
        return masks[0][0].numpy()[order], scores[order], coarse[order]

    def _shown(self, picture: Image, prompt: Prompt) -> dict[str, Any]:
        scale = np.ones(2) if prompt.normalize else np.array(picture.size)
        shown: dict[str, Any] = {}
        if prompt.point_coords is not None:
            points = _array(prompt.point_coords, "point_coords")
            labels = _array(prompt.point_labels or [], "point_labels")
            if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
                raise InferenceError("point_coords and point_labels do not belong together")
            shown["input_points"] = [[(points * scale).tolist()]]
            shown["input_labels"] = [[labels.astype(int).tolist()]]
        if prompt.box is not None:
            box = _array(prompt.box, "box").reshape(-1)
            if box.size != 4:
                raise InferenceError("box takes four numbers")
            shown["input_boxes"] = [[(box * np.tile(scale, 2)).tolist()]]
        return shown


def _array(values: list[Any], name: str) -> NDArray[np.float32]:
    try:
        array = np.array(values, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InferenceError(f"{name} is no list of numbers") from error
    if not np.isfinite(array).all() or (name != "mask_input" and array.size > 2 * MAX_POINTS):
        raise InferenceError(f"{name} has too many numbers, or infinite ones")
    return array
