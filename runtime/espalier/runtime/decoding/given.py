"""Requests that begin with finished branches: what they begin with, and what of their response is new."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from espalier.runtime.engine import GenerateRequest, Mode, RequestRefused, Rollout
from espalier.runtime.grammar import GrammarLimits, Vocabulary
from espalier.runtime.layout import layout

_COLUMNS = ("tokens", "logprobs", "forced", "positions", "paths")


def require_joinable(request: GenerateRequest) -> None:
    """Whether what is given fits the request; :class:`espalier.runtime.decoding.response.Response` finds out the rest.

    Raises:
        RequestRefused: It does not; the message begins with "given".
    """
    given = request.given
    if given is None:
        return
    if request.mode is not Mode.PARALLEL:
        raise RequestRefused(f"given: branches are joined in mode parallel, not {request.mode}")
    if given.prompt != request.prompt:
        raise RequestRefused("given: it is the beginning of a response to another prompt")
    lengths = [len(getattr(given, name)) for name in _COLUMNS]
    if not given.tokens or any(one != other for one, other in pairwise(lengths)):
        raise RequestRefused("given: tokens, logprobs, forced, positions and paths must be equally long and not empty")


def require_known_ids(request: GenerateRequest, size: int, owner: str) -> None:
    """Whether the model has an embedding for each token of the prompt and of what is given.

    Args:
        request: What is asked for.
        size: Ids are 0 to `size` - 1.
        owner: Whose ids these are, for the message.

    Raises:
        RequestRefused: A token has none; the message names the field.
    """
    for name, tokens in (("prompt", request.prompt), ("given", request.given.tokens if request.given else ())):
        strange = next((token for token in tokens if not 0 <= token < size), None)
        if strange is not None:
            raise RequestRefused(f"{name} holds token id {strange}; the {owner}'s ids are 0 to {size - 1}")


def first_position(request: GenerateRequest) -> int:
    """Position of the first new token of a response: behind the prompt, or behind the longest of the last steps."""
    given = request.given
    if given is None:
        return len(request.prompt)
    last = given.paths[-1][0][0]
    return 1 + max(at for at, path in zip(given.positions, given.paths, strict=True) if path and path[0][0] == last)


def whole(given: Rollout | None, new: Rollout) -> Rollout:
    """A response from what it was given and its new tokens, under the weights of these."""
    if given is None:
        return new
    return replace(new, **{name: getattr(given, name) + getattr(new, name) for name in _COLUMNS})


def behind(given: Rollout | None, response: Rollout) -> Rollout:
    """The new tokens of a response alone: the inverse of :func:`whole`."""
    if given is None:
        return response
    return replace(response, **{name: getattr(response, name)[len(given.tokens) :] for name in _COLUMNS})


def read_given(tokens: tuple[int, ...], count: int, vocabulary: Vocabulary, limits: GrammarLimits) -> Rollout:
    """Prompt and beginning of a response from one sequence, positions and paths read from the tags. O(n).

    Args:
        tokens: Prompt and beginning.
        count: How many of the last tokens are the beginning.
        vocabulary: Ids of the tags.
        limits: Structural limits.

    Raises:
        RequestRefused: No prompt is left.
    """
    start = len(tokens) - count
    if start < 1:
        raise RequestRefused(f"given: {count} of {len(tokens)} tokens leave no prompt")
    laid = layout(tokens, start, vocabulary, limits)
    return Rollout(
        prompt=tokens[:start],
        tokens=tokens[start:],
        logprobs=(0.0,) * count,
        forced=(False,) * count,
        positions=tuple(laid.positions[start:].tolist()),
        paths=tuple(laid.branches[branch].path for branch in laid.branch[start:]),
    )
