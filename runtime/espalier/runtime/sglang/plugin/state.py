"""One request of a client: its branches, and the scheduler's request that decodes each of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from espalier.runtime.decoding.branch import Branch, ForkedBlock
from espalier.runtime.decoding.response import Response
from espalier.runtime.sglang.plugin.output import Channel
from espalier.runtime.sglang.protocol import Options


@dataclass(frozen=True, slots=True)
class Copied:
    """Keys and values of `length` tokens from index `start` of a row on; `data` is in the KV pool's own form."""

    start: int
    length: int
    data: Any


@dataclass(eq=False, slots=True)
class BranchState:
    """A branch and the request that stands for it in the scheduler.

    The request's token sequence is the branch's linearised context: for the root prompt and response, for a step all
    that its parent had at the fork and then its own. `position(token) = index in the row + offset` holds for all
    tokens from the last join on, and for all tokens of a step before that.

    Attributes:
        request: SGLang's `Req`.
        start: Tokens of the row before the branch's own first one: they are the parent's (for the root: the prompt,
            with the branches that it was given).
        offset: See above.
        copied: Tokens of `branch` that the request's sequence has.
        seen: Output tokens of the request that have been read.
        forked: Whether its row is laid out by the plugin: from the first fork on, and always for a step.
        compute_kv_only: Whether the next sampled token is dropped, because only keys and values are wanted.
        complete: Whether it is a closed step with all keys and values in place.
        slots: (tokens,) where its keys and values are while it has no row: when it rests, or waits to go on.
        shared: Tokens at the start of its sequence whose slots are not its own: the parent's, or the radix cache's.
        release_prefix: Unlocks the prompt's prefix in the radix cache, once that is the plugin's business.
        prompt_node: The radix cache's node of that prefix while it is locked.
        host: Its keys and values in host memory while it holds none on the device.
    """

    branch: Branch
    request: Any
    tree: ForkedRequest
    start: int
    offset: int
    copied: int
    seen: int = 0
    forked: bool = False
    compute_kv_only: bool = False
    complete: bool = False
    joined: int = 0
    slots: Any = None
    shared: int = 0
    release_prefix: Callable[[], object] | None = None
    prompt_node: Any = None
    host: Copied | None = None

    @property
    def length(self) -> int:
        """Tokens of the request's sequence."""
        return len(self.request.origin_input_ids) + len(self.request.output_ids)

    @property
    def parent(self) -> BranchState | None:
        """Whose row it begins with: for a step the branch that it belongs to, None once it has been joined; for a root
        None, or the root of the branches that it was given."""
        if self.branch.parent is not None:
            return self.tree.states.get(self.branch.parent)
        return None if self.tree.given is None else self.tree.given.root

    @property
    def fork(self) -> ForkedBlock | None:
        """The block that comes next in the branch and has not been joined."""
        forks = self.branch.forks
        return forks[self.joined] if self.joined < len(forks) else None

    @property
    def wants_token(self) -> bool:
        return not self.branch.closed and self.fork is None

    def unlock(self) -> None:
        """Let the radix cache evict the prompt's prefix."""
        if self.release_prefix is not None:
            self.release_prefix()
            self.release_prefix = self.prompt_node = None

    def tokens(self) -> Any:
        """The request's whole sequence, as SGLang's array type."""
        return self.request.origin_input_ids + self.request.output_ids


@dataclass(eq=False, slots=True)
class ForkedRequest:
    """One request of a client, or finished branches that are computed for requests that begin with them.

    Attributes:
        number: Order of arrival; the oldest is served first where not all fit.
        response: Grammar, limits and events, shared with the embedded engine.
        options: What the client asked for.
        channel: What goes to the client beside the tokens.
        min_new_tokens: Tokens before which no stop token may be sampled.
        states: All branches that decode, rest or wait, parents before their steps.
        key: What requests have in common that begin with the same finished branches; None: it begins with a prompt.
        given: These branches, as a tree of their own: its root's row is what this request begins with.
        users: Requests that begin with this tree; None for a request of a client.
    """

    number: int
    response: Response
    options: Options
    channel: Channel
    min_new_tokens: int
    states: dict[Branch, BranchState] = field(default_factory=dict)
    joins: int = 0
    ended: bool = False
    key: Hashable = None
    given: ForkedRequest | None = None
    users: dict[ForkedRequest, None] | None = None

    @property
    def computed(self) -> bool:
        """Whether all blocks that the response begins with have been joined."""
        return self.root.joined >= self.response.given_blocks

    @property
    def root(self) -> BranchState:
        return self.states[self.response.root]

    @property
    def id(self) -> str:
        return self.response.request.request_id

    def steps(self, fork: ForkedBlock) -> Iterator[BranchState]:
        return (self.states[step] for step in fork.steps)
