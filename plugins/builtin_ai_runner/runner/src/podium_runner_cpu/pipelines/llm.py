"""llm: continues a conversation."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, ClassVar

from attrs import define

from podium_runner_cpu.engines.generate import Sampling, Step, TokenModel, generate
from podium_runner_cpu.errors import ModelUnavailable
from podium_runner_cpu.fields import Field
from podium_runner_cpu.pipelines.base import Encoding, Pipeline
from podium_runner_cpu.snapshots import find_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from podium_runner_cpu.engines.tokens import Messages
    from podium_runner_cpu.fields import Values

ENGINES = ("numpy", "transformers")


@define
class Llm(Pipeline):
    """A language model: in numpy, or by transformers where that is installed."""

    name: ClassVar[str] = "llm"
    title: ClassVar[str] = "LLM"
    encoding: ClassVar[Encoding] = "json"
    model_field: ClassVar[str] = "model"
    unauthorized_text: ClassVar[str] = "Invalid bearer token"
    refusal_status: ClassVar[int] = 500
    oom_text: ClassVar[str] = "Internal server error during LLM processing."
    fields: ClassVar[tuple[Field, ...]] = (
        Field("messages", "messages", required=True),
        Field("model", default=""),
        Field("max_tokens", "int", default=256, low=0),
        Field("temperature", "float", default=0.7, low=0, high=2),
        Field("top_p", "float", default=1.0, low=0, high=1),
        Field("top_k", "int", default=-1, low=-1),
        Field("stream", "bool", default=False),
    )

    _model: TokenModel | None = None

    @property
    def error_text(self) -> str:
        """The reply when the model fails."""
        return self.oom_text

    def load(self) -> None:
        """Load tokenizer and weights, and run them once: arrays may be missing, or not fit."""
        model = self._load()
        model.forward([0], model.new_cache(1))
        self._model = model

    def _load(self) -> TokenModel:
        folder = find_snapshot(self.settings.model_dir, self.settings.model_id)
        engine = self.settings.engine or ENGINES[importlib.util.find_spec("torch") is not None]
        if engine == "transformers":
            from podium_runner_cpu.engines.torch_lm import TorchModel

            return TorchModel.from_folder(folder)
        if engine == "numpy":
            from podium_runner_cpu.engines.llama import Llama

            return Llama.from_folder(folder)
        raise ModelUnavailable(f"MODEL_ENGINE={engine}: not one of {', '.join(ENGINES)}")

    def run(self, values: Values) -> dict[str, object]:
        """Not how this pipeline is asked: it yields steps."""
        raise NotImplementedError

    def generate(self, messages: Messages, sampling: Sampling) -> Iterator[Step]:
        """Continue a conversation, step by step. Each step blocks."""
        if self._model is None:
            raise ModelUnavailable("the model is not loaded")
        return generate(self._model, messages, sampling, self.settings.limits.tokens)
