"""From a question to prompt tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSTRUCTION_FILE = "instruction.txt"
"""A model directory may hold one: the instruction text that the model was trained with."""

CHAT_TEMPLATE_KWARGS_FILE = "chat_template_kwargs.json"
"""A model directory may hold one: a JSON object of arguments for its chat template."""

_QUESTION = "{question}"

_MARK = "\ue000question\ue000"
"""Stands for the question while the chat template is rendered: private-use characters, which no template changes."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The user turn of a chat: the question inside an instruction text, rendered by the tokenizer's chat template.

    Attributes:
        instruction: Text with one `{question}`. Tags in it become tag tokens. Parity with published weights needs their
            published instruction text.
        chat_template_kwargs: Arguments of the chat template, for example `{"enable_thinking": False}`.
    """

    instruction: str = _QUESTION
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.instruction.count(_QUESTION) != 1:
            raise ValueError("the instruction text must hold {question} exactly once")

    @classmethod
    def load(cls, path: Path, *, model: Path | None = None) -> PromptTemplate:
        """Read a template.

        Args:
            path: A file with the instruction text, or a model directory: its `instruction.txt` (the bare question if
                there is none) and its `chat_template_kwargs.json`.
            model: Where `path` is a file: the model directory whose `chat_template_kwargs.json` counts.

        Raises:
            ValueError: The text does not hold `{question}` exactly once, or the arguments are no JSON object.
            OSError: A file cannot be read.
        """
        directory = path if path.is_dir() else model
        file = path / INSTRUCTION_FILE if path.is_dir() else path
        kwargs = _kwargs(directory / CHAT_TEMPLATE_KWARGS_FILE) if directory else {}
        if path.is_dir() and not file.exists():
            return cls(chat_template_kwargs=kwargs)
        try:
            return cls(file.read_text(encoding="utf-8").strip(), kwargs)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def save(self, folder: Path) -> None:
        """Write the files that :meth:`load` reads from a model directory; the default has none."""
        if self.instruction != _QUESTION:
            (folder / INSTRUCTION_FILE).write_text(self.instruction + "\n", encoding="utf-8")
        if self.chat_template_kwargs:
            text = json.dumps(dict(self.chat_template_kwargs), indent=2) + "\n"
            (folder / CHAT_TEMPLATE_KWARGS_FILE).write_text(text, encoding="utf-8")

    def encode(self, tokenizer: Any, question: str) -> tuple[int, ...]:
        """Token ids up to where the model's turn begins.

        The question alone is literal: tags and other special tokens that it spells are encoded as ordinary text. Those
        of the instruction and of the chat template are tokens.

        Raises:
            ValueError: The chat template drops, repeats or rewrites the question.
        """
        rendered = self._render(tokenizer, question)
        framed = self._render(tokenizer, _MARK)
        if not any(rendered.count(token) != framed.count(token) for token in tokenizer.get_added_vocab()):
            return tuple(tokenizer.encode(rendered, add_special_tokens=False))
        head, mark, tail = framed.partition(_MARK)
        literal = rendered.removeprefix(head).removesuffix(tail)  # what the template makes of it: some templates trim
        if not mark or literal.strip() != question.strip():
            raise ValueError(
                "the chat template drops, repeats or rewrites the question; special tokens in it cannot be kept as text"
            )
        pieces = ((head, False), (literal, True), (tail, False))
        return tuple(
            token
            for piece, as_text in pieces
            for token in tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=as_text)
        )

    def _render(self, tokenizer: Any, question: str) -> str:
        turn = {"role": "user", "content": self.instruction.replace(_QUESTION, question)}
        text: str = tokenizer.apply_chat_template(
            [turn], tokenize=False, add_generation_prompt=True, **self.chat_template_kwargs
        )
        return text


def _kwargs(file: Path) -> dict[str, Any]:
    """
    Raises:
        ValueError: The file holds no JSON object.
    """
    if not file.exists():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f'{file}: write a JSON object, for example {{"enable_thinking": false}}')
    return value
