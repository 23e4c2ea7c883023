"""Diffusion models by diffusers, on torch."""

from __future__ import annotations

import inspect
import json
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define

from podium_runner_cpu.errors import InferenceError, LoraLoadingError, ModelUnavailable
from podium_runner_cpu.snapshots import find_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

CHECKER = "CompVis/stable-diffusion-safety-checker"
MAX_LORAS = 4
DECODE_CHUNK = 4

LORA_ERRORS = (ModelUnavailable, OSError, ValueError, KeyError, AttributeError, RuntimeError)
"""By which the libraries say that files are missing, or made for another model."""

log = logging.getLogger(__name__)


def parse_loras(text: str) -> dict[str, float]:
    """Read a request's LoRAs: a JSON object of repositories and weights.

    Raises:
        LoraLoadingError: it is none.
    """
    if not text:
        return {}
    try:
        given = json.loads(text)
        loras = {str(name): float(weight) for name, weight in given.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise LoraLoadingError("loras is no JSON object of names and weights") from error
    if len(loras) > MAX_LORAS or not all(map(math.isfinite, loras.values())):
        raise LoraLoadingError(f"loras takes {MAX_LORAS} finite weights at most")
    return loras


@define
class Diffuser:
    """A model, once loaded, and the checker of its pictures."""

    _pipe: Any = None
    _checker: Any = None
    _extractor: Any = None
    _model_dir: Path | None = None
    _device: str = "cpu"

    def load(self, model_dir: Path, model_id: str, loader: str) -> None:
        """Load a model from its files alone.

        Args:
            model_dir: where all models lie.
            model_id: which.
            loader: the class of diffusers to load it with.

        Raises:
            ModelUnavailable: packages or files are missing.
        """
        try:
            import diffusers
            import torch
        except ImportError as error:
            raise ModelUnavailable(f"torch and diffusers: {error}") from error
        folder = find_snapshot(model_dir, model_id)
        gpu = torch.cuda.is_available()
        self._device, self._model_dir = ("cuda" if gpu else "cpu"), model_dir
        kind = getattr(diffusers, loader)
        half = {"variant": "fp16"} if gpu and _has_half(folder) else {}
        try:
            self._pipe = kind.from_pretrained(
                folder,
                torch_dtype=torch.float16 if gpu else torch.float32,
                local_files_only=True,
                use_safetensors=True,  # the other format runs code
                **half,
            )
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{folder}: {error}") from error
        self._pipe.to(self._device)
        self._pipe.set_progress_bar_config(disable=True)
        self._load_checker(model_dir)

    def make(
        self, arguments: dict[str, Any], seeds: list[int], loras: dict[str, float]
    ) -> list[Image]:
        """Make one picture for each seed.

        Raises:
            InferenceError: the model does not take these arguments.
            LoraLoadingError: a LoRA is not installed, or does not fit.
        """
        known = inspect.signature(self._pipe.__call__).parameters
        taken = {name: value for name, value in arguments.items() if name in known}
        try:
            self._use_loras(loras)
            made = self._pipe(**taken, generator=[self._dice(seed) for seed in seeds])
        except (ValueError, TypeError) as error:
            raise InferenceError(str(error)[:300].rstrip(".")) from error
        finally:
            if loras:
                self._pipe.unload_lora_weights()
        return list(made.images)

    def frames(self, arguments: dict[str, Any], seed: int) -> list[Image]:
        """Make the frames of one video.

        Raises:
            InferenceError: the model does not take these arguments.
        """
        try:
            made = self._pipe(
                **arguments, generator=self._dice(seed), decode_chunk_size=DECODE_CHUNK
            )
        except (ValueError, TypeError) as error:
            raise InferenceError(str(error)[:300].rstrip(".")) from error
        return list(made.frames[0])

    def nsfw(self, pictures: list[Image]) -> list[bool]:
        """Say which pictures are not safe for work; without a checker, none is said to be."""
        if self._checker is None:
            return [False] * len(pictures)
        inputs = self._extractor(pictures, return_tensors="pt").to(self._device)
        arrays = [np.asarray(picture) for picture in pictures]
        _, flags = self._checker(images=arrays, clip_input=inputs.pixel_values)
        return [bool(flag) for flag in flags]

    def _load_checker(self, model_dir: Path) -> None:
        try:
            folder = find_snapshot(model_dir, CHECKER)
        except ModelUnavailable:
            log.warning("no %s: no picture will be called unsafe", CHECKER)
            return
        from diffusers.pipelines.stable_diffusion.safety_checker import (
            StableDiffusionSafetyChecker as Checker,
        )
        from transformers import CLIPImageProcessor

        self._checker = Checker.from_pretrained(folder, local_files_only=True).to(self._device)
        self._extractor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)

    def _use_loras(self, loras: dict[str, float]) -> None:
        assert self._model_dir is not None
        names = [f"lora{number}" for number in range(len(loras))]
        for name, repository in zip(names, loras, strict=True):
            try:
                folder = find_snapshot(self._model_dir, repository)
                self._pipe.load_lora_weights(
                    str(folder), adapter_name=name, local_files_only=True, use_safetensors=True
                )
            except LORA_ERRORS as error:
                raise LoraLoadingError(f"the LoRA {repository[:200]} cannot be loaded") from error
        if names:
            self._pipe.set_adapters(names, list(loras.values()))

    def _dice(self, seed: int) -> Any:
        import torch

        return torch.Generator(self._device).manual_seed(seed)


def _has_half(folder: Path) -> bool:
    return any(folder.glob("*/*.fp16.safetensors"))
