"""Files of prompts and responses for supervised fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from espalier.runtime.grammar import EIGHT_TAGS, Vocabulary
from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.structure import read
from espalier.training.config import Form
from espalier.training.data.example import TrainingExample, response_example, response_tokens
from espalier.training.data.packing import PackedSequence, bins, packed_sequence


class ResponseFileError(ValueError):
    """A file of responses cannot be trained on; the message names file and line."""


def read_examples(path: Path, tokenizer: Any, template: PromptTemplate, form: Form) -> list[TrainingExample]:
    """Read JSON lines, each with a prompt and the response that is trained.

    A line is `{"prompt": …, "response": …}`: the prompt is a question, put to the model as it is when the model is
    served (instruction text and chat template). Or it is `{"messages": [{"role": …, "content": …}, …]}`: the chat
    template alone is applied, and the last message, of the assistant, is trained. A response may hold the tags of the
    grammar; it gets the end of the turn if it does not have it. With `"untrained_steps": [2, 3]` these steps of its
    first block (counted from 1) are context and not trained: attempts that failed, say.

    Args:
        path: The file.
        tokenizer: Of the model, with a chat template.
        template: The model's instruction text.
        form: See :func:`espalier.training.data.example.response_example`.

    Raises:
        ResponseFileError: The file cannot be read, is empty, or holds a line that is no example: not of this form, or
            with tags that break the grammar.
    """
    vocabulary = Vocabulary.of(tokenizer)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ResponseFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    examples = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            examples.append(_example(json.loads(line), tokenizer, template, form, vocabulary))
        except (ValueError, RecursionError) as error:
            raise ResponseFileError(f"{path}:{number}: {error}") from None
    if not examples:
        raise ResponseFileError(f"{path}: there is no response in it")
    return examples


def _example(
    value: Any, tokenizer: Any, template: PromptTemplate, form: Form, vocabulary: Vocabulary
) -> TrainingExample:
    context: Any = ()
    match value:
        case {"prompt": str(question), "response": str(text), **more}:
            context = more.pop("untrained_steps", ())
            if more:
                raise ValueError(
                    f"unknown field {sorted(map(str, more))[0]!r}; there are: prompt, response, untrained_steps"
                )
            prompt = template.encode(tokenizer, question)
        case {"messages": [*turns, {"role": "assistant", "content": str(text)}]} if turns:
            rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            prompt = tuple(tokenizer.encode(rendered, add_special_tokens=False))
        case _:
            raise ValueError(
                'write {"prompt": "…", "response": "…"}, or {"messages": […]} whose last message is the assistant\'s'
            )
    response = response_tokens(text, tokenizer)
    if tokenizer.eos_token_id is not None and response[-1:] != [tokenizer.eos_token_id]:
        response.append(tokenizer.eos_token_id)
    structure = read((*prompt, *response), len(prompt), vocabulary)
    tags = {vocabulary.id_of(tag) for tag in EIGHT_TAGS}
    if form is Form.PARALLEL and structure.faults and tags & set(response):
        fault = structure.faults[0]
        raise ValueError(f"the response breaks the grammar: {fault.kind.value}, {fault.detail}")
    example = response_example(prompt, response, form, vocabulary)
    steps = structure.blocks[0].steps if structure.blocks else ()
    for number in context:
        if type(number) is not int or not 1 <= number <= len(steps):
            raise ValueError(f"untrained_steps: {number!r} is no step of the response's first block")
        example.trained[steps[number - 1].start : steps[number - 1].end] = False
    return example


class ExampleSource:
    """The packed sequences of a set of examples, each once in every pass, in an order of its own."""

    names = ("responses",)

    def __init__(
        self,
        examples: Sequence[TrainingExample],
        sequence_length: int,
        seed: int,
        held_out: Sequence[TrainingExample] = (),
    ) -> None:
        """
        Raises:
            ValueError: One is longer than a sequence.
        """
        self._sequences = _packed(examples, sequence_length)
        self._held_out = _packed(held_out, sequence_length)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._sequences)

    def packed_sequences(self, position: int) -> Iterator[PackedSequence]:
        """See :class:`espalier.training.sft.SequenceSource`."""
        for number in count(position):
            epoch, place = divmod(number, len(self._sequences))
            order = Random(f"{self._seed}/{epoch}").sample(range(len(self._sequences)), len(self._sequences))
            yield self._sequences[order[place]]

    def held_out(self) -> list[PackedSequence]:
        """The packed sequences of the held-out examples."""
        return self._held_out


def _packed(examples: Sequence[TrainingExample], length: int) -> list[PackedSequence]:
    shares = bins([len(one.tokens) for one in examples], length)
    return [packed_sequence([(0, examples[index]) for index in share], length) for share in shares]
