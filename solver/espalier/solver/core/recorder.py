"""Fold the events of one response into a candidate, and notice answers inside of steps as they appear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from espalier.runtime.decoding.detokenizer import Detokeniser
from espalier.runtime.engine import (
    BranchClosed,
    BranchOpened,
    Event,
    Finished,
    FinishReason,
    Rollout,
    Tokens,
    Usage,
    until_last_join,
)
from espalier.runtime.grammar import Tag
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec
from espalier.verifiers.answer import branch_answer, final_answer
from espalier.verifiers.check import Check

if TYPE_CHECKING:
    from espalier.runtime.layout import Path

_ANSWER_ENDS = frozenset("}`")
"""A box ends with a brace and a program with a fence: only then is a step read again."""


class CandidateBuilder:
    """Feed it the events of one response in order; afterwards `candidate` makes the candidate.

    Attributes:
        text: What the last event brought: the text of its tokens as far as their characters are complete, or the plan
            of the step that it opened.
        stopped: Whether a text that ends the response has appeared outside of steps: nothing more of it is wanted.
    """

    def __init__(
        self,
        spec: Spec,
        tokenizer: Any,
        check: Check | None,
        end_of_turn: Sequence[int] = (),
        stop: Sequence[str] = (),
    ) -> None:
        self.text = ""
        self.stopped = False
        self._stop = stop
        self._tail = ""
        self._finished: Finished | None = None
        self._sampled = self._forced = 0
        self._refused = ""
        self._spec = spec
        self._tokenizer = tokenizer
        self._check = check
        self._end_of_turn = {tokenizer.eos_token_id, *end_of_turn}
        self._tokens: dict[Path, list[int]] = {(): []}
        self._texts: dict[Path, Detokeniser] = {(): Detokeniser(tokenizer)}
        self._answers: list[BranchAnswer] = []

    def begin(self, given: Rollout) -> None:
        """The response begins with finished branches: what is fed follows them."""
        for token, path in zip(given.tokens, given.paths, strict=True):
            self._tokens.setdefault(path, []).append(token)
        for path, tokens in self._tokens.items():
            self._texts.setdefault(path, Detokeniser(self._tokenizer)).feed(tokens)

    @property
    def branches(self) -> tuple[int, ...]:
        """Tokens of a response that has ended, up to the end of its last block's steps; empty where none can be
        concluded anew: there are none, or the response broke off."""
        if self._finished is None or self._finished.reason not in (FinishReason.STOP, FinishReason.LENGTH):
            return ()
        given = until_last_join(self._finished.rollout)
        return () if given is None else given.tokens

    def feed(self, event: Event) -> BranchAnswer | None:
        """Take in one event; the answer that a step has just stated, if it is a new one."""
        self.text = ""
        match event:
            case BranchOpened(path=path, plan=plan):
                self._tokens[path] = []
                self._texts[path] = Detokeniser(self._tokenizer)
                self.text = self._text(plan)
            case Tokens(path=path, tokens=tokens, forced=forced):
                self._tokens[path].extend(tokens)
                inserted = sum(forced)
                self._sampled, self._forced = self._sampled + len(forced) - inserted, self._forced + inserted
                self.text = self._texts[path].feed(tokens)
                if path and not _ANSWER_ENDS.isdisjoint(self.text):
                    return self._look(path)
                if not path and self._stop:
                    self._look_for_stop()
            case BranchClosed(path=path):
                return self._look(path)
            case Finished():
                self._finished = event
        return None

    def refuse(self, reason: str) -> None:
        """The engine will not generate this response."""
        self._refused = reason

    def candidate(self, seconds: float, settled_by: BranchAnswer | None = None) -> Candidate:
        """The candidate. Without a last event it was refused or left behind: what is known of it counts.

        Args:
            seconds: From the start of the solve to now.
            settled_by: The branch answer that ended the response early.
        """
        finished = self._finished
        if finished is None:
            return Candidate(
                spec=self._spec,
                text=self._text(self._tokens[()]),
                answer=None,
                branch_answers=tuple(self._answers),
                reason=FinishReason.ERROR if self._refused else FinishReason.ABORTED,
                usage=Usage(sampled_tokens=self._sampled, forced_tokens=self._forced),
                seconds=seconds,
                detail=self._refused,
            )
        root = self._text(self._without_end(self._tokens[()]))
        text = self._text(self._without_end(finished.rollout.tokens))
        reason = finished.reason
        if self.stopped:
            behind = len(root) - min((at for at in map(root.find, self._stop) if at >= 0), default=len(root))
            root, text, reason = root[: len(root) - behind], text[: len(text) - behind], FinishReason.STOP
        ended = reason is FinishReason.STOP and not (self.stopped and _inside_block(root))
        stated = final_answer(root, self._check, complete=ended)
        return Candidate(
            spec=self._spec,
            text=text,
            answer=settled_by.answer if settled_by else stated.text if stated else None,
            branch_answers=tuple(self._answers),
            reason=reason,
            usage=finished.usage,
            seconds=seconds,
            forked=self._forked(),
            well_formed=finished.structure is not None and finished.structure.well_formed,
            detail=finished.detail,
        )

    def _look_for_stop(self) -> None:
        window = self._tail + self.text
        self.stopped = self.stopped or any(stop in window for stop in self._stop)
        self._tail = window[-max(map(len, self._stop)) :]

    def _forked(self) -> bool:
        steps = [path for path in self._tokens if path]
        blocks = {(path[:-1], path[-1][0]) for path in steps}
        return len(steps) > len(blocks)

    def _look(self, path: Path) -> BranchAnswer | None:
        answer = branch_answer(self._text(self._tokens[path]), self._check)
        found = BranchAnswer(path, answer) if answer is not None else None
        if found is None or found in self._answers:
            return None
        self._answers.append(found)
        return found

    def _without_end(self, tokens: Sequence[int]) -> Sequence[int]:
        ended = bool(tokens) and tokens[-1] in self._end_of_turn
        return tokens[:-1] if ended else tokens

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))


def _inside_block(root: str) -> bool:
    """Whether the text of the root breaks off inside a block: no sentence of it is a conclusion."""
    return root.rfind(Tag.GUIDELINE) > root.rfind(Tag.END_TAKEAWAY)
