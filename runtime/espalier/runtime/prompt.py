"""From a question to prompt tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espalier.common.files import json_object
from espalier.runtime.engine import RequestRefused

INSTRUCTION_FILE = "instruction.txt"
"""A model directory may hold one: the instruction text that the model was trained with."""

CHAT_TEMPLATE_KWARGS_FILE = "chat_template_kwargs.json"
"""A model directory may hold one: a JSON object of arguments for its chat template."""

ROLES = ("user", "assistant")
"""Of the turns of a conversation."""

_QUESTION = "{question}"

_MARK = "\ue000{}\ue000"
"""Stands for the content of a turn while the chat template is rendered: private-use characters, which no template
changes."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A turn of a conversation.

    Attributes:
        role: One of :data:`ROLES`.
        content: What was said.
    """

    role: str
    content: str


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

    def filled(self, question: str) -> str:
        """The instruction text with a question in it."""
        return self.instruction.replace(_QUESTION, question)

    def save(self, folder: Path) -> None:
        """Write the files that :meth:`load` reads from a model directory; the default has none."""
        if self.instruction != _QUESTION:
            (folder / INSTRUCTION_FILE).write_text(self.instruction + "\n", encoding="utf-8")
        if self.chat_template_kwargs:
            text = json.dumps(dict(self.chat_template_kwargs), indent=2) + "\n"
            (folder / CHAT_TEMPLATE_KWARGS_FILE).write_text(text, encoding="utf-8")

    def encode(self, tokenizer: Any, question: str, context: Sequence[ChatMessage] = ()) -> tuple[int, ...]:
        """Token ids up to where the model's turn begins.

        What people and models have said is literal: tags and other special tokens that it spells are encoded as
        ordinary text. Those of the instruction and of the chat template are tokens.

        Args:
            tokenizer: The model's.
            question: Stands in the instruction text, in the last turn.
            context: Earlier turns.

        Raises:
            RequestRefused: The chat template does not take these turns, or drops, repeats or rewrites one.
        """
        said = (*context, ChatMessage("user", question))
        rendered = self._render(tokenizer, said)
        marked = [ChatMessage(one.role, _MARK.format(number)) for number, one in enumerate(said)]
        framed = self._render(tokenizer, marked)
        if any(one.content not in framed for one in marked):
            raise RequestRefused("the chat template drops the question, or a turn before it")
        if not any(rendered.count(token) != framed.count(token) for token in tokenizer.get_added_vocab()):
            return tuple(tokenizer.encode(rendered, add_special_tokens=False))
        return tuple(
            token
            for piece, as_text in _pieces(rendered, framed, [one.content for one in said])
            for token in tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=as_text)
        )

    def _render(self, tokenizer: Any, said: Sequence[ChatMessage]) -> str:
        *context, last = said
        turns = [{"role": one.role, "content": one.content} for one in context]
        turns.append({"role": last.role, "content": self.filled(last.content)})
        try:
            text: str = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **self.chat_template_kwargs
            )
        except Exception as error:
            if _is_of_template(error):
                raise RequestRefused(f"the model's chat template does not take these turns: {error}") from None
            raise
        return text


def _pieces(rendered: str, framed: str, contents: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The rendered text in pieces, each with whether it is literal.

    Args:
        rendered: The chat.
        framed: The same with marks for the contents.
        contents: Of the turns; some templates trim them.

    Raises:
        RequestRefused: A content is not where its mark is.
    """
    for number, content in enumerate(contents):
        frame, _, framed = framed.partition(_MARK.format(number))
        after = framed.partition(_MARK.format(number + 1))[0]
        forms = (content, content.strip(), content.lstrip(), content.rstrip())
        literal = next((form for form in forms if rendered.startswith(frame + form + after)), None)
        if literal is None:
            raise RequestRefused(
                "the chat template drops, repeats or rewrites the question or a turn before it; special tokens in it "
                "cannot be kept as text"
            )
        yield frame, False
        yield literal, True
        rendered = rendered[len(frame) + len(literal) :]
    if rendered != framed:
        raise RequestRefused("the chat template writes more behind the question than it does behind other questions")
    yield rendered, False


def _is_of_template(error: Exception) -> bool:
    """Whether a chat template has raised it: `transformers` renders them with Jinja, which need not be installed."""
    return type(error).__module__.partition(".")[0] == "jinja2"


def _kwargs(file: Path) -> dict[str, Any]:
    """
    Raises:
        ValueError: The file holds no JSON object.
    """
    return json_object(file, '{"enable_thinking": false}') if file.exists() else {}
