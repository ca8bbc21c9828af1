"""The prefixes that each request of a batch shares with others: nodes of the radix cache, then blocks of its tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from espalier.runtime.sglang.plugin.compat import Rows
from espalier.runtime.sglang.plugin.state import BranchState
from espalier.runtime.sglang.plugin.tree_attention.forest import Chain


def chains(requests: Iterable[Any], state_of: Callable[[Any], BranchState | None], rows: Rows) -> list[Chain]:
    """One chain per request; O(requests), but for the depth of their trees.

    A step's first tokens are in the slots of its parent's row, and a prompt's in those of the radix cache: that is what
    makes rows share them.
    """
    nodes: dict[Any, Chain] = {}
    steps: dict[BranchState, Chain] = {}

    def prompt(node: Any, limit: int) -> Chain:
        if node not in nodes:
            nodes[node] = _path(node)
        return tuple(link for link in nodes[node] if link[1] <= limit)

    def block(parent: BranchState, start: int) -> Chain:
        found = steps.get(parent)
        if found is None:
            found = steps[parent] = (*branch(parent), (parent, start))
        return found

    def branch(state: BranchState) -> Chain:
        if state.parent is not None:
            return block(state.parent, state.start)
        return prompt(state.prompt_node, state.shared)

    found = []
    for request in requests:
        state = state_of(request)
        if state is None or not state.forked:
            found.append(prompt(rows.prompt_node(request), rows.shared(request) if rows.held(request) else 0))
        else:
            found.append(branch(state))
    return found


def _path(node: Any) -> Chain:
    """From the root of the radix cache to this node: each node on the way, and the tokens up to its end."""
    path = []
    while node is not None and node.parent is not None:
        path.append(node)
        node = node.parent
    length, links = 0, []
    for each in reversed(path):
        length += len(each.key)
        links.append((each, length))
    return tuple(links)
