"""Rollouts: problems in, judged responses out, as the token ids and layouts that the engine itself reports.

Nothing travels as text on the way to the trainer. Text is made once, of the answer, for the verifier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from espalier.common.seeds import derive_seed
from espalier.runtime.decoding.finished import with_structure
from espalier.runtime.engine import (
    Engine,
    EngineError,
    EngineUnavailable,
    Finished,
    FinishReason,
    GenerateRequest,
    Limits,
    Mode,
    RequestRefused,
    Rollout,
    SamplingParams,
    Usage,
    until_last_join,
)
from espalier.runtime.grammar import Tag, Vocabulary
from espalier.runtime.layout import Path as BranchPath
from espalier.runtime.layout import runs
from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.structure import Structure
from espalier.solver.core.problem import Problem, check_of
from espalier.training.rl.judged import JudgedBranch, JudgedRollout, Rejoin, require_version
from espalier.training.rl.reward import Reward, RolloutStatus, format_score, reward, status_of
from espalier.training.rl.segments import segments
from espalier.training.rl.verifiers import RetryingVerifiers
from espalier.training.run.metrics import Tell
from espalier.verifiers.answer import branch_answer
from espalier.verifiers.check import Check, Claim, ProgramCheck
from espalier.verifiers.verdict import Evidence, Status, Verdict


class TrainedEngine(Engine, Protocol):
    """An engine that takes new weights."""

    async def update_weights(self, weights: Mapping[str, Tensor] | Path) -> int:
        """Put new weights in place and return their version."""
        ...


@runtime_checkable
class Batching(Protocol):
    """An engine whose passes can be made reproducible."""

    def together(self) -> AbstractContextManager[None]:
        """Begin no pass while requests are being made."""
        ...


@dataclass(slots=True)
class Outage:
    """An engine of servers that may be away for a while.

    Attributes:
        tell: Hears of the pause and of its end.
        pause: Seconds between two tries.
    """

    tell: Tell
    pause: float = 2.0
    _away: bool = False

    async def wait(self, reason: EngineUnavailable) -> None:
        """Come back when it is time to ask again."""
        if not self._away:
            self._away = True
            self.tell(f"no engine can be reached ({reason}); training pauses until one can")
        await asyncio.sleep(self.pause)

    def over(self) -> None:
        """A response came."""
        if self._away:
            self._away = False
            self.tell("the engine is back; training goes on")


@dataclass(frozen=True, slots=True)
class Collector:
    """Has responses generated and judged.

    Attributes:
        engine: Generates.
        judge: Judges.
        template: From question to prompt.
        vocabulary: Ids of the tags.
        mode: Whether `</guideline>` forks.
        limits: Of a response.
        constrained: Whether engines keep responses to the grammar.
        judge_branches: Whether every step that states an answer is judged, too: each text once a prompt.
        branch_programs: Programs of steps that are run for a prompt at most; further ones have no verdict.
        format_reward: Whether keeping to the grammar is rewarded, too.
        train_malformed: Whether malformed responses get a gradient, as failed ones do.
        rejoins: Other conclusions that are drawn from the finished branches of each response that has blocks.
        max_length: Tokens of prompt and response together; None: as many as the engine takes. A response to a longer
            prompt is shorter, and a prompt that leaves no room for one is refused before anything is generated.
        outage: Waits while servers are away, and asks them again: equal requests give equal responses. None: an engine
            that is gone is an error.
    """

    engine: TrainedEngine
    judge: RetryingVerifiers
    template: PromptTemplate
    vocabulary: Vocabulary
    mode: Mode
    limits: Limits
    constrained: bool = False
    judge_branches: bool = False
    branch_programs: int = 16
    format_reward: bool = False
    train_malformed: bool = False
    rejoins: int = 0
    max_length: int | None = None
    outage: Outage | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: The engine cannot do what is asked of it.
        """
        if self.rejoins and not self.engine.info.rejoins:
            raise ValueError(f"rollout.rejoins: the engine of {self.engine.info.model} cannot join branches again")

    async def collect(
        self, problems: Sequence[Problem], samples: int, seed: str, first: int = 0
    ) -> list[list[JudgedRollout]]:
        """Generate `samples` responses to each problem at temperature 1 and judge each as soon as it has ended.

        All requests go to the engine at once; it shares what their prompts share and batches what fits. Equal
        arguments and weights give equal tokens, to the last bit where the engine is :class:`Batching`.

        Args:
            problems: P of them.
            samples: Responses to each.
            seed: Of the sampling.
            first: Number of the first problem: each is sampled by `seed` and its number alone.

        Returns:
            P lists of judged rollouts.

        Raises:
            EngineError: The engine failed.
            FieldError: No verifier judges such problems.
            StaleRolloutError: The engine's weights changed under a response.
        """
        version = self.engine.info.weight_version
        batching = self.engine.together() if isinstance(self.engine, Batching) else nullcontext()
        judges = [BranchJudge(problem, self.judge, self.branch_programs) for problem in problems]
        asked = [
            (problem, self._request(problem, f"{seed}/{index}/{number}"), judge)
            for index, (problem, judge) in enumerate(zip(problems, judges, strict=True), start=first)
            for number in range(samples)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                with batching:
                    tasks = [group.create_task(self._judged(*one)) for one in asked]
                    await asyncio.sleep(0)  # every task has made its request
        except BaseExceptionGroup as failed:
            raise _first(failed) from None  # the rest were cancelled, or failed alike
        judged = [task.result() for task in tasks]
        require_version(judged, version)
        return [judged[start : start + samples] for start in range(0, len(judged), samples)]

    def _request(self, problem: Problem, seed: str) -> GenerateRequest:
        prompt = self.template.encode(self.engine.tokenizer, problem.text)
        sampling = SamplingParams(seed=derive_seed(seed))
        limits = self.limits
        if self.max_length is not None:
            limits = replace(limits, max_tokens=max(1, min(limits.max_tokens, self.max_length - len(prompt))))
        return GenerateRequest(
            f"rollout-{seed}",
            prompt,
            sampling,
            limits=limits,
            mode=self.mode,
            final_event_only=True,
            constrained=self.constrained,
        )

    async def _judged(self, problem: Problem, request: GenerateRequest, judge: BranchJudge) -> JudgedRollout:
        refused = False
        try:
            if self.max_length is not None and len(request.prompt) >= self.max_length:
                raise RequestRefused(f"the prompt has {len(request.prompt)} tokens, a sequence {self.max_length}")
            last = await self._finished(request)
        except RequestRefused as error:
            refused, last = True, _refused(request, error, self.engine.info.weight_version)
            last = with_structure(last, self.vocabulary, request.limits.grammar)
        rollout = last.rollout
        structure = last.structure
        if structure is None:
            raise EngineError(f"the engine did not read {request.request_id}: its model has no tags")
        # Both at once: which programs of steps are run then depends on which responses end first, and on no verdict.
        verdict, branches = await asyncio.gather(self._verdict(last, problem), self._branches(last, problem, judge))
        rejoins: tuple[Rejoin, ...] = ()
        given = until_last_join(rollout)
        if self.rejoins and given is not None and last.reason in (FinishReason.STOP, FinishReason.LENGTH):
            again = (self._rejoin(problem, request, given, number) for number in range(self.rejoins))
            rejoins = tuple(await asyncio.gather(*again))
        worth = self._reward(last, structure, verdict)
        parts = segments(rollout.paths, structure, len(rollout.prompt))
        return JudgedRollout(problem, last, parts, verdict, worth, branches, rejoins, refused)

    async def _verdict(self, last: Finished, problem: Problem) -> Verdict | None:
        """On the answer of a response that ended by itself."""
        if last.reason is not FinishReason.STOP:
            return None
        claim = Claim(answer_text(last.rollout, self.vocabulary, self.engine.tokenizer), problem=problem.text)
        return await self.judge.verify(claim, check_of(problem))

    async def _branches(self, last: Finished, problem: Problem, judge: BranchJudge) -> tuple[JudgedBranch, ...]:
        """The steps that state an answer, judged, where that is asked for."""
        if not self.judge_branches or last.reason not in (FinishReason.STOP, FinishReason.LENGTH):
            return ()
        check = check_of(problem)
        return await judge.judged(branch_answers(last.rollout, check, self.vocabulary, self.engine.tokenizer))

    async def _rejoin(self, problem: Problem, first: GenerateRequest, given: Rollout, number: int) -> Rejoin:
        """Another conclusion of the same branches, and the verdict on it; none where it does not fit the engine."""
        name = f"{first.request_id}/rejoin-{number}"
        sampling = replace(first.sampling, seed=derive_seed(name))
        try:
            last = await self._finished(replace(first, request_id=name, sampling=sampling, given=given))
        except RequestRefused:
            return Rejoin(RolloutStatus.ENGINE_ERROR, Usage(), refused=True)
        verdict = await self._verdict(last, problem)
        return Rejoin(status_of(last.reason, verdict.status if verdict else None), last.usage)

    def _reward(self, last: Finished, structure: Structure, verdict: Verdict | None) -> Reward:
        extra = format_score(structure) if self.format_reward else 0.0
        status = status_of(last.reason, verdict.status if verdict else None)
        return reward(status, extra, train_malformed=self.train_malformed)

    async def _finished(self, request: GenerateRequest) -> Finished:
        while True:
            try:
                last = await self._generated(request)
            except EngineUnavailable as error:
                if self.outage is None:
                    raise
                await self.outage.wait(error)
            else:
                if self.outage is not None:
                    self.outage.over()
                return last

    async def _generated(self, request: GenerateRequest) -> Finished:
        async with aclosing(self.engine.generate(request)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Finished):
                    return event
        raise EngineError(f"the engine ended {request.request_id} without its last event")


@dataclass(slots=True)
class BranchJudge:
    """Verdicts on the answers of steps, for the responses to one problem: each text is judged once.

    Attributes:
        problem: What is asked.
        judge: Judges.
        programs: Different programs that are run at most; 0: none.
    """

    problem: Problem
    judge: RetryingVerifiers
    programs: int
    _verdicts: dict[str, asyncio.Task[Verdict]] = field(default_factory=dict)

    async def judged(self, answers: Mapping[BranchPath, str]) -> tuple[JudgedBranch, ...]:
        """The steps with these answers, in order."""
        verdicts = await asyncio.gather(*map(self._asked, answers.values()))
        return tuple(map(JudgedBranch, answers.keys(), answers.values(), verdicts))

    def _asked(self, answer: str) -> asyncio.Task[Verdict]:
        if answer not in self._verdicts:
            beyond = isinstance(check_of(self.problem), ProgramCheck) and len(self._verdicts) >= self.programs
            self._verdicts[answer] = asyncio.create_task(_not_run() if beyond else self._verify(answer))
        return self._verdicts[answer]

    async def _verify(self, answer: str) -> Verdict:
        return await self.judge.verify(Claim(answer, bare=True, problem=self.problem.text), check_of(self.problem))


async def _not_run() -> Verdict:
    detail = "more different programs in the steps of a prompt's responses than rollout.branch_programs"
    return Verdict(Status.UNKNOWN, 0.0, "branch_programs", (Evidence("branch_programs", detail),))


def branch_answers(rollout: Rollout, check: Check, vocabulary: Vocabulary, tokenizer: Any) -> dict[BranchPath, str]:
    """What the finished steps of a response state as their answers, in linearised order; others are missing.

    The text of a step is its own: that of the steps inside it is theirs.
    """
    own: dict[BranchPath, list[int]] = {}
    for start, end, path in runs(rollout.paths):
        if path:
            own.setdefault(path, []).extend(rollout.tokens[start:end])
    found: dict[BranchPath, str] = {}
    for path, tokens in own.items():
        if vocabulary.tags.get(tokens[-1]) is Tag.END_STEP:
            answer = branch_answer(str(tokenizer.decode(tokens[:-1], skip_special_tokens=False)), check)
            if answer is not None:
                found[path] = answer
    return found


def answer_text(rollout: Rollout, vocabulary: Vocabulary, tokenizer: object) -> str:
    """The text behind the response's last block, without the end of the turn."""
    ends = [index for index, token in enumerate(rollout.tokens) if vocabulary.tags.get(token) is Tag.END_TAKEAWAY]
    answer = rollout.tokens[ends[-1] + 1 if ends else 0 :]
    if answer and vocabulary.tags.get(answer[-1]) is Tag.END_OF_TURN:
        answer = answer[:-1]
    return str(tokenizer.decode(list(answer), skip_special_tokens=False))  # type: ignore[attr-defined]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _refused(request: GenerateRequest, error: RequestRefused, version: int) -> Finished:
    """An engine that will not serve a request, as a response without tokens: one bad prompt ends no run."""
    empty = Rollout(request.prompt, (), (), (), (), (), version)
    return Finished(request.request_id, FinishReason.ERROR, Usage(), empty, f"refused: {error}")
