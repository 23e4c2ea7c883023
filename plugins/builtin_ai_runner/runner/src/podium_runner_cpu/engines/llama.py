"""Llama-like language models (Llama, Mistral, Qwen2) in numpy: real checkpoints, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, field, frozen

from podium_runner_cpu.engines.generate import TokenModel
from podium_runner_cpu.engines.tokens import ChatTokenizer, read_json
from podium_runner_cpu.engines.weights import read_weights
from podium_runner_cpu.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

KINDS = {"llama", "mistral", "qwen2"}


@frozen
class Shape:
    """The numbers of a model's ``config.json``."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    epsilon: float
    theta: float
    tied: bool

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """Read the configuration.

        Raises:
            ModelUnavailable: it describes something else, or something we do not compute.
        """
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if config.get("model_type") not in KINDS or kind != "default":
            known = ", ".join(sorted(KINDS))
            raise ModelUnavailable(
                f"a model of type {config.get('model_type')} with positions of type {kind} needs"
                f" the package transformers; without it: {known} with default positions"
            )
        heads = int(config["num_attention_heads"])
        return cls(
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
            context=int(config.get("sliding_window") or config["max_position_embeddings"]),
            epsilon=float(config.get("rms_norm_eps", 1e-6)),
            theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            tied=bool(config.get("tie_word_embeddings", False)),
        )


@define
class Cache:
    """Keys and values of the tokens so far: ``[layer, kv head, position, dimension]``."""

    keys: Array
    values: Array
    length: int = 0

    @classmethod
    def of(cls, shape: Shape, tokens: int) -> Cache:
        """Make room for a number of tokens."""
        size = (shape.layers, shape.kv_heads, tokens, shape.head_dim)
        return cls(np.zeros(size, np.float32), np.zeros(size, np.float32))


@define
class Llama(TokenModel):
    """One loaded model."""

    shape: Shape
    weights: dict[str, Array] = field(repr=False)

    @classmethod
    def from_folder(cls, folder: Path) -> Llama:
        """Load configuration, tokenizer and weights.

        Raises:
            ModelUnavailable: something is missing, damaged or of another kind.
        """
        config = read_json(folder / "config.json")
        shape = Shape.from_config(config)
        return cls(
            tokenizer=ChatTokenizer.from_folder(folder),
            context=shape.context,
            ends=ends_of(folder),
            shape=shape,
            weights=read_weights(folder),
        )

    def new_cache(self, tokens: int) -> Cache:
        """Make room for a prompt and its completion."""
        return Cache.of(self.shape, tokens)

    def forward(self, ids: list[int], cache: Cache) -> Array:
        """Return the logits after the last of the new tokens, and remember all of them."""
        weights, shape = self.weights, self.shape
        x = weights["model.embed_tokens.weight"][ids]
        turns = _turns(shape, np.arange(cache.length, cache.length + len(ids)))
        for layer in range(shape.layers):
            prefix = f"model.layers.{layer}"
            normal = self._norm(x, f"{prefix}.input_layernorm")
            x = x + self._attend(normal, layer, turns, cache)
            normal = self._norm(x, f"{prefix}.post_attention_layernorm")
            gate = self._linear(normal, f"{prefix}.mlp.gate_proj")
            up = self._linear(normal, f"{prefix}.mlp.up_proj")
            x = x + self._linear(gate / (1 + np.exp(-gate)) * up, f"{prefix}.mlp.down_proj")
        cache.length += len(ids)
        head = "model.embed_tokens" if shape.tied else "lm_head"
        logits: Array = self._linear(self._norm(x[-1:], "model.norm"), head)[0]
        return logits

    def _attend(self, x: Array, layer: int, turns: tuple[Array, Array], cache: Cache) -> Array:
        shape, count = self.shape, len(x)
        prefix = f"model.layers.{layer}.self_attn"
        groups = shape.heads // shape.kv_heads

        def split(name: str, heads: int) -> Array:
            parts = self._linear(x, f"{prefix}.{name}").reshape(count, heads, shape.head_dim)
            return parts.transpose(1, 0, 2)

        start, end = cache.length, cache.length + count
        cache.keys[layer, :, start:end] = _rotate(split("k_proj", shape.kv_heads), turns)
        cache.values[layer, :, start:end] = split("v_proj", shape.kv_heads)
        keys, values = cache.keys[layer, :, None, :end], cache.values[layer, :, None, :end]
        queries = _rotate(split("q_proj", shape.heads), turns)
        queries = queries.reshape(shape.kv_heads, groups, count, shape.head_dim)
        scores = queries @ keys.transpose(0, 1, 3, 2) / np.float32(np.sqrt(shape.head_dim))
        future = np.arange(end)[None, :] > np.arange(start, end)[:, None]
        mixed = _softmax(np.where(future, np.float32(-np.inf), scores)) @ values
        flat = mixed.reshape(shape.heads, count, shape.head_dim).transpose(1, 0, 2)
        return self._linear(flat.reshape(count, -1), f"{prefix}.o_proj")

    def _linear(self, x: Array, name: str) -> Array:
        y: Array = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return y if bias is None else y + bias

    def _norm(self, x: Array, name: str) -> Array:
        scale: Array = np.sqrt(
            np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.shape.epsilon)
        )
        y: Array = x / scale * self.weights[f"{name}.weight"]
        return y


def ends_of(folder: Path) -> frozenset[int]:
    """Return the tokens that end a completion."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        ends = read_json(folder / name).get("eos_token_id")
        found |= set(ends) if isinstance(ends, list) else {ends} if isinstance(ends, int) else set()
    return frozenset(found)


def _turns(shape: Shape, positions: Any) -> tuple[Array, Array]:
    steps = np.arange(0, shape.head_dim, 2) / shape.head_dim
    angles = positions[:, None] * shape.theta**-steps
    both = np.concatenate([angles, angles], axis=-1).astype(np.float32)
    return np.cos(both), np.sin(both)


def _rotate(x: Array, turns: tuple[Array, Array]) -> Array:
    cos, sin = turns
    half = x.shape[-1] // 2
    turned: Array = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    y: Array = x * cos + turned * sin
    return y


def _softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    y: Array = weights / weights.sum(axis=-1, keepdims=True)
    return y
