"""Language models of any kind that transformers knows, on torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, field

from podium_runner_cpu.engines.generate import TokenModel
from podium_runner_cpu.engines.llama import ends_of
from podium_runner_cpu.engines.tokens import ChatTokenizer
from podium_runner_cpu.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DEFAULT_CONTEXT = 2048


@define
class TorchCache:
    """What transformers remembers of the tokens so far."""

    past: Any = None


@define
class TorchModel(TokenModel):
    """One loaded model."""

    model: Any = field(repr=False)
    device: str

    @classmethod
    def from_folder(cls, folder: Path) -> TorchModel:
        """Load configuration, tokenizer and weights; on a GPU where there is one.

        Raises:
            ModelUnavailable: packages or files are missing, or transformers does not know the kind.
        """
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise ModelUnavailable(f"torch and transformers: {error}") from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            # Code that a model's folder brings is never run.
            model = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, dtype="auto"
            )
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{folder}: {error}") from error
        context = getattr(model.config, "max_position_embeddings", DEFAULT_CONTEXT)
        tokenizer = ChatTokenizer.from_folder(folder)
        return cls(tokenizer, context, ends_of(folder), model.to(device).eval(), device)

    def new_cache(self, tokens: int) -> TorchCache:
        """Make an empty memory; transformers makes room as it goes."""
        return TorchCache()

    def forward(self, ids: list[int], cache: TorchCache) -> NDArray[np.float32]:
        """Return the logits after the last of the new tokens, and remember all of them."""
        import torch

        with torch.inference_mode():
            given = torch.tensor([ids], device=self.device)
            out = self.model(given, past_key_values=cache.past, use_cache=True)
            cache.past = out.past_key_values
            logits: NDArray[np.float32] = out.logits[0, -1].float().cpu().numpy()
        return logits
