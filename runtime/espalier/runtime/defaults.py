"""How a model was trained to be decoded: one file in its directory, and what a caller says instead."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self

from espalier.common.files import json_object
from espalier.runtime.engine import Limits
from espalier.runtime.grammar import GrammarLimits

DECODING_FILE = "decoding.json"
"""A model directory may hold one: the fields of :class:`DecodingDefaults`."""


@dataclass(frozen=True, slots=True)
class DecodingDefaults:
    """The limits of a model's parallel responses, as it met them in training. They hold unless a caller says otherwise.

    How long a response may be in all is no habit of a model: that is the caller's budget.

    Attributes:
        constrained: Whether responses are kept to the grammar.
        max_plans: Plans of a block.
        max_depth: Blocks inside one another.
        max_branch_tokens: Tokens of a step, after which it is closed; None: no such limit.

    Raises:
        ValueError: A value makes no sense; the message names its field.
    """

    constrained: bool = False
    max_plans: int = GrammarLimits().max_plans
    max_depth: int = GrammarLimits().max_depth
    max_branch_tokens: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.constrained, bool):
            raise ValueError(f"constrained must be true or false, got {self.constrained!r}")
        for name in ("max_plans", "max_depth", "max_branch_tokens"):
            value = getattr(self, name)
            if name == "max_branch_tokens" and value is None:
                continue
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number above 0, got {value!r}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Those of a model directory; the usual ones where it holds no file of them.

        Raises:
            ValueError: The file holds something else; the message names file and field.
            OSError: It cannot be read.
        """
        return cls.stored(folder) or cls()

    @classmethod
    def stored(cls, folder: Path) -> Self | None:
        """What a model directory says itself; None where it holds no file of them.

        Raises:
            ValueError: As :meth:`load`.
            OSError: As :meth:`load`.
        """
        file = folder / DECODING_FILE
        if not file.exists():
            return None
        value = json_object(file, '{"max_plans": 4}')
        names = [field.name for field in fields(cls)]
        try:
            unknown = next((name for name in value if name not in names), None)
            if unknown is not None:
                raise ValueError(f"unknown field {unknown!r}; there are: {', '.join(names)}")
            return cls(**value)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    def save(self, folder: Path) -> None:
        """Write the file that :meth:`load` reads."""
        (folder / DECODING_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def limits(self, max_tokens: int) -> Limits:
        """Of a response with so many new tokens at most."""
        grammar = GrammarLimits(max_plans=self.max_plans, max_depth=self.max_depth)
        return Limits(max_tokens=max_tokens, max_branch_tokens=self.max_branch_tokens, grammar=grammar)


@dataclass(frozen=True, slots=True)
class DecodingOverrides:
    """What a caller says instead of a model's :class:`DecodingDefaults`; None: nothing.

    Attributes:
        constrained: As there.
        max_plans: As there.
        max_depth: As there.
        max_branch_tokens: As there; 0: no such limit.
    """

    constrained: bool | None = None
    max_plans: int | None = None
    max_depth: int | None = None
    max_branch_tokens: int | None = None

    def on(self, defaults: DecodingDefaults) -> DecodingDefaults:
        """A model's own with these in place of some."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.max_branch_tokens == 0:
            given["max_branch_tokens"] = None
        return replace(defaults, **given)
