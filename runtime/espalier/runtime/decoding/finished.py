"""What an engine adds to the last event on the side of the caller."""

from __future__ import annotations

from dataclasses import replace

from espalier.runtime.engine import Finished
from espalier.runtime.grammar import GrammarLimits, Vocabulary
from espalier.runtime.structure import read


def with_structure(finished: Finished, vocabulary: Vocabulary | None, limits: GrammarLimits) -> Finished:
    """The event with the structure of its response. O(n).

    Engines call it where the event reaches the caller, so that the loop that decodes does not wait for the reading.

    Args:
        finished: The last event of a response.
        vocabulary: Ids of the tags; None where the model has no tags: the event stays as it is.
        limits: Structural limits that the response was generated with.
    """
    if vocabulary is None:
        return finished
    rollout = finished.rollout
    tokens = (*rollout.prompt, *rollout.tokens)
    return replace(finished, structure=read(tokens, len(rollout.prompt), vocabulary, limits))
