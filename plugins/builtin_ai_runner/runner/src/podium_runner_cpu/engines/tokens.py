"""Text to tokens and back, with a model's own tokenizer and chat template."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from podium_runner_cpu.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Messages = list[dict[str, str]]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
PLAIN = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "assistant:"
)
"""For models that were never taught a template."""


@frozen
class ChatTokenizer:
    """A model's tokenizer and its chat template."""

    _tokenizer: Any
    _template: Any
    _special: dict[str, str]

    @classmethod
    def from_folder(cls, folder: Path) -> ChatTokenizer:
        """Load ``tokenizer.json``, and the template if there is one.

        Raises:
            ModelUnavailable: packages or files are missing.
        """
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ModelUnavailable(f"tokenizers and jinja2: {error}") from error
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelUnavailable(f"no {path}")
        config = read_json(folder / "tokenizer_config.json")
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        template = environment.from_string(_template(folder, config))
        special = {name: _text(config.get(name)) for name in ("bos_token", "eos_token")}
        return cls(Tokenizer.from_file(str(path)), template, special)

    def encode(self, messages: Messages) -> list[int]:
        """Return the tokens of a conversation, up to where the assistant speaks next.

        Raises:
            ValueError: the template refuses the conversation.
        """
        text = self._template.render(messages=messages, add_generation_prompt=True, **self._special)
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, special ones left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


@define
class TextStream:
    """Decodes tokens as they come; a character's bytes may be spread over several."""

    tokenizer: ChatTokenizer
    _ids: list[int]
    _start: int = 0
    _shown: int = 0

    def push(self, token: int) -> str:
        """Add a token; return the text that is now certain."""
        self._ids.append(token)
        before = self.tokenizer.decode(self._ids[self._start : self._shown])
        now = self.tokenizer.decode(self._ids[self._start :])
        if now.endswith(REPLACEMENT) or len(now) <= len(before):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return now[len(before) :]


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object, or an empty one where there is no file.

    Raises:
        ModelUnavailable: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ModelUnavailable(f"{path}: {error}") from error


def _template(folder: Path, config: dict[str, Any]) -> str:
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text()
    template = config.get("chat_template")
    return template if isinstance(template, str) else PLAIN


def _text(token: object) -> str:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _refuse(text: str) -> str:
    raise ValueError(text)
