"""From a question to prompt tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTRUCTION_FILE = "instruction.txt"
"""A model directory may hold one: the instruction text that the model was trained with."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The user turn of a chat: the question inside an instruction text.

    Attributes:
        instruction: Text with one `{question}`. Parity with published weights needs their published instruction text.
    """

    instruction: str = "{question}"

    def __post_init__(self) -> None:
        if self.instruction.count("{question}") != 1:
            raise ValueError("the instruction text must hold {question} exactly once")

    @classmethod
    def load(cls, path: Path) -> PromptTemplate:
        """Read a template from a file, or from `instruction.txt` inside a model directory (default if there is none).

        Raises:
            ValueError: The file does not hold `{question}` exactly once.
            OSError: The file cannot be read.
        """
        if path.is_dir():
            path = path / INSTRUCTION_FILE
            if not path.exists():
                return cls()
        try:
            return cls(path.read_text(encoding="utf-8").strip())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def encode(self, tokenizer: Any, question: str) -> tuple[int, ...]:
        """Token ids up to where the model's turn begins. Tags inside the question are encoded as ordinary text."""
        content = self.instruction.replace("{question}", question)
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        special = [token for token in tokenizer.get_added_vocab() if token in content]
        if not special:
            return tuple(tokenizer.encode(text, add_special_tokens=False))
        head, tail = text.split(content, maxsplit=1)
        pieces = ((head, False), (content, True), (tail, False))
        return tuple(
            token
            for piece, literal in pieces
            for token in tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=literal)
        )
