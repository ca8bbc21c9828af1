"""Where a server's plugin learns the ids of the grammar: its tokenizer, or an environment variable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from espalier.runtime.grammar import EIGHT_TAGS, Tag, TagError, Tokenizer, Vocabulary
from espalier.runtime.sglang.protocol import MAX_PLANS, TAGS_VARIABLE


def server_vocabulary(
    tokenizer: Tokenizer | None, end_of_turn: Iterable[int], environment: Mapping[str, str]
) -> Vocabulary:
    """The ids for a server. The variable wins over the tokenizer.

    Args:
        tokenizer: None on a server that was started with `--skip-tokenizer-init`.
        end_of_turn: Ids at which the model's generation config stops; tags among them are left out, because models
            that were made for other engines list `</guideline>` and `</step>` there.
        environment: Where :data:`espalier.runtime.sglang.protocol.TAGS_VARIABLE` may be set.

    Raises:
        TagError: Nothing names the ids, or what does is wrong.
    """
    text = environment.get(TAGS_VARIABLE)
    if text:
        return vocabulary_from_json(text, end_of_turn)
    if tokenizer is None:
        raise TagError(f"the server has no tokenizer; give the token ids in the environment variable {TAGS_VARIABLE}")
    return Vocabulary.of(tokenizer, max_plans=MAX_PLANS, end_of_turn=end_of_turn)


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """The inverse of :func:`vocabulary_from_json`."""
    tags: dict[str, Any] = {tag.value: vocabulary.id_of(tag) for tag in EIGHT_TAGS}
    ends = [token for token, tag in vocabulary.tags.items() if tag is Tag.END_OF_TURN]
    return json.dumps({"tags": tags, "end_of_turn": ends, "newline": vocabulary.newline, "labels": vocabulary.labels})


def vocabulary_from_json(text: str, end_of_turn: Iterable[int] = ()) -> Vocabulary:
    """Read ids from JSON.

    `{"tags": {"<guideline>": id, … all eight}, "end_of_turn": [ids], "newline": [ids of "\\n"],
    "labels": [[ids of "\\n1:"], [ids of "\\n2:"], …]}`

    Raises:
        TagError: A field is missing or no list of token ids.
    """
    try:
        record = json.loads(text)
        tags = {int(record["tags"][tag.value]): tag for tag in EIGHT_TAGS}
        ends = {int(token): Tag.END_OF_TURN for token in (*record.get("end_of_turn", ()), *end_of_turn)}
        newline = tuple(int(token) for token in record["newline"])
        labels = tuple(tuple(int(token) for token in label) for label in record["labels"])
    except (ValueError, TypeError, AttributeError) as error:
        raise TagError(f"environment variable {TAGS_VARIABLE}: {error}") from error
    except KeyError as error:
        raise TagError(f"environment variable {TAGS_VARIABLE} lacks {error}") from error
    if len(tags) != len(EIGHT_TAGS) or not newline or not labels or not all(labels):
        raise TagError(f"environment variable {TAGS_VARIABLE}: needs eight different tags, a newline and labels")
    return Vocabulary(tags=ends | tags, newline=newline, labels=labels)


def without_end_of_turn(vocabulary: Vocabulary) -> Vocabulary:
    """For requests with `ignore_eos`: the end of a turn is text like any other."""
    return replace(vocabulary, tags={token: tag for token, tag in vocabulary.tags.items() if tag in EIGHT_TAGS})
