"""The sampling loop of language models, whatever computes their logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import define, frozen

from podium_runner_cpu.engines.tokens import ChatTokenizer, Messages, TextStream
from podium_runner_cpu.errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Finish = Literal["", "stop", "length"]

GREEDY_BELOW = 1e-5


@frozen
class Sampling:
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: of the completion.
        temperature: 0 takes the likeliest token.
        top_p: the share of probability that is kept.
        top_k: the number of tokens that are kept; below 1 keeps all.
        seed: None draws one.
        stop: texts that end the completion; they are no part of it.
    """

    max_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = -1
    seed: int | None = None
    stop: tuple[str, ...] = ()


@frozen
class Step:
    """A piece of a completion.

    Attributes:
        text: what is new; may be empty.
        finish: why the completion ends here, or empty.
        prompt_tokens: of the conversation.
        completion_tokens: so far.
    """

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int


@define
class TokenModel(ABC):
    """A loaded language model.

    Attributes:
        tokenizer: its own.
        context: tokens of prompt and completion together.
        ends: tokens that end a completion.
    """

    tokenizer: ChatTokenizer
    context: int
    ends: frozenset[int]

    @abstractmethod
    def new_cache(self, tokens: int) -> Any:
        """Make what remembers the tokens so far, with room for so many."""

    @abstractmethod
    def forward(self, ids: list[int], cache: Any) -> NDArray[np.float32]:
        """Return the logits after new tokens, and remember them."""


def generate(
    model: TokenModel, messages: Messages, sampling: Sampling, max_context: int
) -> Iterator[Step]:
    """Complete a conversation, token by token. Blocks.

    Args:
        model: what computes the logits.
        messages: the conversation.
        sampling: how tokens are chosen.
        max_context: bounds the model's own context.

    Yields:
        Pieces; exactly one, the last, has a finish reason.

    Raises:
        InferenceError: the conversation leaves no room for a completion.
    """
    ids = model.tokenizer.encode(messages)
    context = min(model.context, max_context)
    if not ids or len(ids) >= context:
        raise InferenceError(f"The prompt has {len(ids)} tokens; the model takes {context - 1}")
    wanted = min(sampling.max_tokens, context - len(ids))
    done = 0
    stream = TextStream(model.tokenizer, [])
    text = Stopper(sampling.stop)
    for token in _tokens(model, ids, sampling, wanted):
        if token in model.ends:
            yield Step(text.rest(), "stop", len(ids), done + 1)
            return
        done += 1
        ready = text.push(stream.push(token))
        if text.stopped:
            yield Step(ready, "stop", len(ids), done)
            return
        yield Step(ready, "", len(ids), done)
    yield Step(text.rest(), "length", len(ids), done)


def _tokens(model: TokenModel, ids: list[int], sampling: Sampling, wanted: int) -> Iterator[int]:
    dice = np.random.default_rng(None if sampling.seed is None else abs(sampling.seed))
    cache = model.new_cache(len(ids) + wanted)
    new = ids
    for _ in range(wanted):
        token = choose(model.forward(new, cache), sampling, dice)
        yield token
        new = [token]


def choose(logits: NDArray[np.float32], sampling: Sampling, dice: np.random.Generator) -> int:
    """Choose a token."""
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")
    if sampling.top_k > 0:
        order = order[: sampling.top_k]
    scaled = logits[order].astype(np.float64) / sampling.temperature
    chances = np.exp(scaled - scaled[0])
    chances /= chances.sum()
    if sampling.top_p < 1:
        kept = int(np.searchsorted(chances.cumsum(), sampling.top_p)) + 1
        order, chances = order[:kept], chances[:kept] / chances[:kept].sum()
    return int(dice.choice(order, p=chances))


@define
class Stopper:
    """Withholds text that may turn out to be the beginning of a stop text."""

    stops: tuple[str, ...]
    stopped: bool = False
    _held: str = ""

    def push(self, text: str) -> str:
        """Add text; return what is certain to be shown."""
        self._held += text
        found = [at for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._take(min(found))
        return self._take(len(self._held) - self._tail())

    def rest(self) -> str:
        """Return what was withheld: nothing more comes."""
        return self._take(len(self._held))

    def _take(self, count: int) -> str:
        ready, self._held = self._held[:count], self._held[count:]
        return ready

    def _tail(self) -> int:
        """Return how much of the end could be the beginning of a stop text."""
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-count:]
            if any(stop.startswith(end) for stop in self.stops):
                return count
        return 0
