"""The words that are put to the model for one candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from espalier.runtime.engine import Engine
from espalier.runtime.open import template_of
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.candidate import Spec
from espalier.solver.core.ways import Way

PROGRAM_INSTRUCTION = """{question}

Solve this with a Python program that works the answer out and prints it, and nothing else, on its last line. Give the \
whole program in one ```python block."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The prompts of each way of solving.

    Attributes:
        words: Of answers in words, of problems that are solved as they are put, and of what the model says of answers.
        program: Of answers by a program that prints them.
    """

    words: PromptTemplate = PromptTemplate()
    program: PromptTemplate = PromptTemplate(PROGRAM_INSTRUCTION)

    def of(self, way: str) -> PromptTemplate:
        """The prompt of a way by its name; of words where there is none."""
        return self.program if way == Way.PROGRAM else self.words


def instruction_files(given: Sequence[str] | None, flag: str = "--model-instruction") -> dict[Way, Path]:
    """Files with instruction texts by way, from FILE, which is one of words, and WAY=FILE.

    Args:
        given: What a command was given.
        flag: By which; named in errors.

    Raises:
        ValueError: There is no such way, a way has two files, or a file cannot be read or holds no instruction text.
    """
    files: dict[Way, Path] = {}
    for text in given or ():
        name, equals, rest = text.partition("=")
        if equals and name not in tuple(Way) and name.isidentifier() and not Path(text).exists():
            raise ValueError(f"{flag} {text}: there is no way {name!r}; there are: {', '.join(Way)}")
        way, path = (Way(name), Path(rest)) if equals and name in tuple(Way) else (Way.WORDS, Path(text))
        if way in files:
            raise ValueError(f"{flag}: two files for {way}, {files[way]} and {path}; give one")
        try:
            PromptTemplate.load(path)
        except OSError as error:
            raise ValueError(f"{flag}: cannot read the instruction text {path}: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{flag}: {error}") from None
        files[way] = path
    return files


def templates_of(engine: Engine, files: Mapping[Way, Path] = MappingProxyType({})) -> Templates:
    """The prompts of an engine's model: instruction texts from files where there are some.

    Else answers in words have the text that the model's own directory holds, and programs one of ours: the model's own
    text asks for an answer in words.

    Raises:
        ValueError: A file cannot be read or does not hold `{question}` once.
    """
    words = template_of(engine, files.get(Way.WORDS))
    if (file := files.get(Way.PROGRAM)) is not None:
        return Templates(words, template_of(engine, file))
    return Templates(words, PromptTemplate(PROGRAM_INSTRUCTION, words.chat_template_kwargs))


REPAIR = """{problem}

An earlier attempt answered:
{answer}

It was rejected: {feedback}
Find what went wrong and give a different, correct answer."""

TESTS = """{problem}

Do not solve this. Write {count} assert statements that a correct solution in Python passes and a wrong one may not. \
Put one on each line: a call of the function, with the result that the text above demands of it. Give them in one \
```python block, with nothing else in it."""


def request_for_tests(problem: str, count: int) -> str:
    """Asks for so many tests of programs that solve the problem."""
    return TESTS.format(problem=problem, count=count)


COMPARISON = """{problem}

Two solutions were proposed.

Solution A:
{first}

Solution B:
{second}

Which of the two has the correct final answer? Reply with the letter A or B, and nothing else."""


def request_for_comparison(problem: str, first: str, second: str) -> str:
    """Asks which of two solutions is right."""
    return COMPARISON.format(problem=problem, first=first, second=second)


def question(problem: str, spec: Spec) -> str:
    """The problem, with what the candidate's spec adds: an earlier attempt to put right, a strategy to try."""
    if spec.repair is not None:
        problem = REPAIR.format(problem=problem, answer=spec.repair.answer, feedback=spec.repair.feedback)
    return f"{problem}\n\n{spec.hint}" if spec.hint else problem
