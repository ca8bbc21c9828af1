"""Keys and values that requests share: those of a prompt, or of a prompt with finished branches."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from espalier.runtime.decoding.branch import Branch, ForkedBlock
from espalier.runtime.decoding.response import Response


@dataclass(eq=False, slots=True)
class Prefix:
    """What some requests begin with. All its tokens are known.

    Attributes:
        root: Prompt tokens without the last one; or, where finished branches are given, the whole prompt with them, up
            to the join.
        active: Branches with something to compute, as an ordered set.
        users: Requests that refer to it; the pages go when the last one leaves.
    """

    root: Branch
    active: dict[Branch, None]
    users: int = 0

    @property
    def ready(self) -> bool:
        return not self.active

    def release(self) -> None:
        for branch in self.root.family():
            branch.evict()


def prefix_key(response: Response) -> Hashable:
    """Requests with equal keys begin alike."""
    request = response.request
    if request.given is None:
        return request.prompt[:-1]
    return request.prompt, request.given.tokens, request.given.paths


def shared_tokens(response: Response) -> int:
    """How many tokens its prefix has."""
    given = response.request.given
    return len(response.request.prompt) - 1 + (len(given.tokens) + 1 if given else 0)


def prefix_of(response: Response) -> Prefix:
    """What a request begins with, nothing of it computed. O(tokens)."""
    prompt = response.request.prompt[:-1]
    positions = list(range(len(prompt)))
    root = replace(response.root, tokens=[*prompt], positions=positions, forks=[], closed=True)
    if response.given_blocks:
        root.tokens += response.root.tokens[: response.given_tokens]
        root.positions += response.root.positions[: response.given_tokens]
        given = response.root.forks[: response.given_blocks]
        root.forks = [_copied(fork, root, fork.at + len(prompt)) for fork in given]
    return Prefix(root, dict.fromkeys(root.family()))


def _copied(fork: ForkedBlock, parent: Branch, at: int) -> ForkedBlock:
    """A finished block, nothing of it computed; its tokens are shared with the original, which changes no more."""
    copy = ForkedBlock(at, [], len(fork.steps))
    for step in fork.steps:
        own = replace(step, parent=parent, forks=[], row=None, computed=0, joined=0)
        own.forks = [_copied(inner, own, inner.at) for inner in step.forks]
        copy.steps.append(own)
    return copy
