"""One request being served: its branches, and what each new token does to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from espalier.runtime.constraint import Constraint
from espalier.runtime.decoding.branch import Branch, ForkedBlock, branch_noise
from espalier.runtime.engine import (
    BranchClosed,
    BranchOpened,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Joined,
    Mode,
    RequestRefused,
    Rollout,
    SamplingParams,
    Tokens,
    Usage,
)
from espalier.runtime.grammar import (
    ROOT,
    CloseBranch,
    Continue,
    Finish,
    Malformed,
    Place,
    Span,
    Tag,
    Vocabulary,
    advance,
    step_state,
)
from espalier.runtime.grammar import Fork as ForkAction
from espalier.runtime.layout import Path


@dataclass(eq=False)
class Response:
    """The branches of one request. Knows the grammar and the limits; knows nothing of pages and batches.

    The last token of the prompt is the root's first: so every request begins with one token of its own to compute, and
    the rest of the prompt can be shared.

    Attributes:
        request: What was asked for.
        vocabulary: Ids of the tags; None where the model has no tags (sequential mode only).
        context_length: Largest position plus one.
        weight_version: Version of the weights that generate it.
        end_of_turn: Ids that end a response in sequential mode, beside those that the vocabulary knows.
        root: The response outside of steps.
        active: Branches with something to compute, as an ordered set.
        events: What happened since they were last taken.
        finished: The last event, once there is one.
        given_blocks: Blocks of the root that the request begins with.
    """

    request: GenerateRequest
    vocabulary: Vocabulary | None
    context_length: int
    weight_version: int = 0
    end_of_turn: frozenset[int] = frozenset()
    root: Branch = field(init=False)
    active: dict[Branch, None] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    finished: Finished | None = None
    given_blocks: int = 0
    _constraint: Constraint | None = None
    _sampled: int = 0
    _forced: int = 0
    _first: int = 0
    _furthest: int = 0
    _replaying: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            RequestRefused: The beginning that is given does not end where steps join, or fills the context.
        """
        prompt = self.request.prompt
        self.root = Branch((), None, branch_noise(self.request.sampling.seed, ()), ROOT, len(prompt) - 1)
        self.root.append(prompt[-1], 0.0, forced=True)
        if self.request.constrained and self.vocabulary is not None:
            self._constraint = Constraint.of(self.vocabulary, self.request.limits.grammar)
            self.root.constrained_by = self._constraint.start(0)
        self.active[self.root] = None
        self._first = self._furthest = len(prompt)
        if self.request.given is not None:
            self._replay(self.request.given)

    @property
    def begun(self) -> bool:
        """Whether tokens of it have been sampled."""
        return self._sampled > 0

    @property
    def given_tokens(self) -> int:
        """Tokens of the root, its first one included, before the last of the given blocks joins; 0 without any."""
        return self.root.forks[self.given_blocks - 1].at if self.given_blocks else 0

    def own_branches(self) -> Iterator[Branch]:
        """The root and the steps that the request has opened itself, parents first."""
        yield self.root
        for fork in self.root.forks[self.given_blocks :]:
            for step in fork.steps:
                yield from step.family()

    def params(self, branch: Branch) -> SamplingParams:
        """How the next token of a branch is drawn."""
        return (branch.path and self.request.step_sampling) or self.request.sampling

    def forbidden(self, branch: Branch) -> tuple[int, ...]:
        """Tokens that may not come next in a branch; none where the request is not constrained."""
        return () if self._constraint is None else self._constraint.forbidden[branch.constrained_by]

    def accept(self, branch: Branch, token: int, logprob: float) -> None:
        """Take a sampled token and do what the grammar and the limits ask for."""
        self._push(branch, (token,), (logprob,), forced=False)
        self._enforce_limits(branch)

    def finish(self, reason: FinishReason, detail: str = "") -> None:
        """End the response; later calls do nothing."""
        if self.finished is not None:
            return
        usage = Usage(
            prompt_tokens=len(self.request.prompt),
            sampled_tokens=self._sampled,
            forced_tokens=self._forced,
            critical_path_tokens=self._furthest - self._first,
        )
        self.finished = Finished(self.request.request_id, reason, usage, self._rollout(), detail)
        self.events.append(self.finished)
        self.active.clear()

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def _replay(self, given: Rollout) -> None:
        """Take the tokens of a response that has been decoded before, through the same machine as new ones.

        Raises:
            RequestRefused: See `__post_init__`.
        """
        self._replaying = True
        taken: dict[Path, int] = {(): 1}  # the prompt's last token
        for token, logprob, forced, path in zip(given.tokens, given.logprobs, given.forced, given.paths, strict=True):
            branch, at = self._branch(path), taken.get(path, 0)
            taken[path] = at + 1
            if at == len(branch.tokens):
                self._push(branch, (token,), (logprob,), forced=forced)
            if self.finished is not None or branch.tokens[at] != token:
                raise RequestRefused(f"given: token {token} of {_name(path)} is not what an engine decodes there")
        opening = len(self.root.tokens) - taken[()]
        if self.root.suspended or not self.root.forks or not opening or not given.paths[-1]:
            raise RequestRefused("given: the response does not end where the steps of one of its own blocks join")
        positions = [place for branch, run in linearised(self.root, first=1) for place in branch.positions[run]]
        if tuple(positions[:-opening]) != given.positions:
            raise RequestRefused("given: the positions are not those that an engine decodes with")
        if self.root.position >= self.context_length:
            raise RequestRefused(
                f"given: the response goes on at position {self.root.position}; the context holds {self.context_length}"
            )
        self._replaying = False
        self.given_blocks = len(self.root.forks)
        self.active = {self.root: None}
        self.events = self.events[-2:]  # the join and its forced opening
        self._sampled, self._forced = 0, opening
        self._first, self._furthest = self.root.position - opening, self.root.position

    def _branch(self, path: Path) -> Branch:
        """
        Raises:
            RequestRefused: No block has opened it.
        """
        branch = self.root
        for block, number in path:
            if block >= len(branch.forks) or not 1 <= number <= len(branch.forks[block].steps):
                raise RequestRefused(f"given: no block opens {_name(path)}")
            branch = branch.forks[block].steps[number - 1]
        return branch

    def _tell(self, event: Event) -> None:
        if not self.request.final_event_only:
            self.events.append(event)

    def _push(self, branch: Branch, tokens: Sequence[int], logprobs: Sequence[float], *, forced: bool) -> None:
        """Append tokens to a branch and let the grammar read them."""
        first = len(branch.tokens)
        for token, logprob in zip(tokens, logprobs, strict=True):
            branch.append(token, logprob, forced=forced)
        self.active[branch] = None
        self._sampled += 0 if forced else len(tokens)
        self._forced += len(tokens) if forced else 0
        self._furthest = max(self._furthest, branch.position)
        if not self.request.final_event_only:
            marks = (forced,) * len(tokens)
            positions = tuple(branch.positions[first:])
            self.events.append(
                Tokens(self.request.request_id, branch.path, tuple(tokens), tuple(logprobs), marks, positions)
            )
        for at, token in enumerate(tokens, start=first):
            self._follow(branch, token, at)

    def _force(self, branch: Branch, tokens: Sequence[int]) -> None:
        self._push(branch, tokens, [0.0] * len(tokens), forced=True)

    def _follow(self, branch: Branch, token: int, at: int) -> None:
        if self.request.mode is Mode.SEQUENTIAL or self.vocabulary is None:
            ends = self.vocabulary is not None and self.vocabulary.tags.get(token) is Tag.END_OF_TURN
            if ends or token in self.end_of_turn or token in self.request.stop:
                self.finish(FinishReason.STOP)
            return
        if self._constraint is not None:
            branch.constrained_by = self._constraint.after(branch.constrained_by, token)
        was = branch.state
        branch.state, action = advance(was, token, at, self.vocabulary, self.request.limits.grammar)
        match action:
            case Continue():
                if token in self.request.stop and was == ROOT:
                    self.finish(FinishReason.STOP)
            case ForkAction(plans):
                self._fork(branch, plans, self.vocabulary)
            case CloseBranch():
                self._close(branch, self.vocabulary)
            case Finish():
                self.finish(FinishReason.STOP)
            case Malformed(fault):
                self.finish(FinishReason.MALFORMED, f"{fault} of {_name(branch.path)}")

    def _fork(self, parent: Branch, plans: tuple[Span, ...], vocabulary: Vocabulary) -> None:
        limits = self.request.limits
        left = limits.max_tokens - self._sampled - self._forced
        if left < limits.min_fork_tokens and not self._replaying:
            self.finish(FinishReason.LENGTH, f"{left} tokens left at a fork, min_fork_tokens {limits.min_fork_tokens}")
            return
        number = len(parent.forks)
        fork = ForkedBlock(len(parent.tokens), [], len(plans))
        parent.forks.append(fork)
        parent.suspended = True
        state = step_state(parent.state.depth + 1)
        for index, plan in enumerate(plans, start=1):
            path: Path = (*parent.path, (number, index))
            noise = branch_noise(self.request.sampling.seed, path)
            step = Branch(path, parent, noise, state, parent.position)
            if self._constraint is not None:
                step.constrained_by = self._constraint.start(state.depth)
            fork.steps.append(step)
            self._tell(BranchOpened(self.request.request_id, path, tuple(parent.tokens[plan.start : plan.end])))
            self._force(step, vocabulary.step_opening(index))

    def _close(self, step: Branch, vocabulary: Vocabulary) -> None:
        step.closed = True
        self._tell(BranchClosed(self.request.request_id, step.path, cut=step.forced[-1]))
        parent = step.parent
        if parent is None or not all(sibling.closed for sibling in parent.forks[-1].steps):
            return
        parent.suspended = False
        parent.position = max(sibling.position for sibling in parent.forks[-1].steps)
        self._tell(Joined(self.request.request_id, parent.path, len(parent.forks) - 1))
        self._force(parent, vocabulary.takeaway_opening())

    def _enforce_limits(self, branch: Branch) -> None:
        limits = self.request.limits
        while self._over_branch_limit(branch) and self.finished is None and self.vocabulary is not None:
            if branch.state.place is Place.TAKEAWAY:
                self._force(branch, (self.vocabulary.id_of(Tag.END_TAKEAWAY),))
            self._force(branch, (self.vocabulary.id_of(Tag.END_STEP),))
            if branch.parent is None or branch.parent.suspended:
                break
            branch = branch.parent
        spent = self._furthest - self._first
        if self._sampled + self._forced >= limits.max_tokens:
            self.finish(FinishReason.LENGTH, f"max_tokens {limits.max_tokens} reached")
        elif limits.max_critical_path is not None and spent >= limits.max_critical_path:
            self.finish(FinishReason.LENGTH, f"max_critical_path {limits.max_critical_path} reached")
        elif self._furthest >= self.context_length:
            self.finish(FinishReason.LENGTH, f"context length {self.context_length} reached")

    def _over_branch_limit(self, branch: Branch) -> bool:
        """Whether a step has to be closed now. A guideline that is being written is let through: it cannot be cut."""
        limit = self.request.limits.max_branch_tokens
        cuttable = branch.state.place in (Place.BODY, Place.TAKEAWAY) and not branch.closed
        return limit is not None and bool(branch.path) and cuttable and branch.position - branch.positions[0] >= limit

    def _rollout(self) -> Rollout:
        runs = list(linearised(self.root, first=1))
        return Rollout(
            prompt=self.request.prompt,
            tokens=tuple(item for branch, run in runs for item in branch.tokens[run]),
            logprobs=tuple(item for branch, run in runs for item in branch.logprobs[run]),
            forced=tuple(item for branch, run in runs for item in branch.forced[run]),
            positions=tuple(item for branch, run in runs for item in branch.positions[run]),
            paths=tuple(branch.path for branch, run in runs for _ in branch.tokens[run]),
            weight_version=self.weight_version,
        )


def linearised(branch: Branch, first: int = 0) -> Iterator[tuple[Branch, slice]]:
    """Runs of tokens in linearised order: each block's steps stand where it forked."""
    for fork in branch.forks:
        yield branch, slice(first, fork.at)
        for step in fork.steps:
            yield from linearised(step)
        first = fork.at
    yield branch, slice(first, None)


def _name(path: Path) -> str:
    steps = ", ".join(f"step {step} of block {block + 1}" for block, step in path)
    return steps or "the response"
