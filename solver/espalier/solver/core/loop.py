"""The solving loop: moves data between policy, engine and verifiers.

Two kinds of tasks run side by side in one task group: one per response that is being generated, one per answer that is
being judged. They report to a single loop, which alone talks to the policy.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from espalier.common.errors import FieldError, first_cause
from espalier.runtime.engine import (
    Engine,
    EngineError,
    RequestRefused,
    Rollout,
    Usage,
)
from espalier.runtime.grammar import Vocabulary
from espalier.solver.core.answer_classes import AnswerClasses
from espalier.solver.core.answer_comparer import AnswerComparer
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec
from espalier.solver.core.events import (
    Accepted,
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    Compared,
    Observer,
    RoundFinished,
    Solved,
    Streamed,
    fan_out,
)
from espalier.solver.core.generation import Generation, closing
from espalier.solver.core.journal import Entry, Journal, NoJournal
from espalier.solver.core.model_calls import ModelCalls
from espalier.solver.core.policy import Budget, Policy, Stop, begin, stop
from espalier.solver.core.problem import Problem
from espalier.solver.core.program_evidence import TESTS_WAY, JudgedProgram, ProgramEvidence
from espalier.solver.core.prompts import Templates, question
from espalier.solver.core.recorder import CandidateBuilder
from espalier.solver.core.result import Result, spend
from espalier.solver.core.selection import Trust, VerifiedCandidate, select
from espalier.solver.core.verification import NO_EVIDENCE, Verification
from espalier.solver.core.votes import changed
from espalier.solver.core.ways import PROGRAM, RUN, Way, evidence, printed
from espalier.verifiers.answer import no_answer
from espalier.verifiers.check import Check, Claim, PatchCheck, ProgramCheck, StepCheck
from espalier.verifiers.generated_tests import GeneratedTests
from espalier.verifiers.stated_examples import NO_EXAMPLES, StatedExamples
from espalier.verifiers.verdict import Status, Verdict

if TYPE_CHECKING:
    from espalier.runtime.layout import Path

ABORT_SECONDS = 5.0
"""An engine that has not ended its requests this long after an abort is left behind: their streams are closed."""

VERIFY_SECONDS = 60.0
"""A verdict that takes longer is ERROR; see :func:`verify_seconds`."""


def verify_seconds(check: Check | None) -> float:
    """Seconds that a verdict may take where nothing else limits it: more where the check's own limits need more."""
    if isinstance(check, PatchCheck):
        return max(VERIFY_SECONDS, check.seconds)
    return VERIFY_SECONDS


NOT_JUDGED = Verdict(Status.UNKNOWN, 0.0, "not_judged")
"""Of a candidate that the solve did not wait for."""


class Verifiers(Protocol):
    """The part of the verifiers that a solve needs, local or remote."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict: ...

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Solver:
    """An engine and verifiers, ready to solve problems; any number of them at a time."""

    engine: Engine
    verifiers: Verifiers
    templates: Templates = Templates()
    generation: Generation = Generation()
    trust: Trust = Trust()

    def within(self, max_tokens: int, stop: tuple[str, ...] = ()) -> Solver:
        """This solver, with responses of at most so many new tokens that end before the texts of `stop`."""
        generation = self.generation
        if (generation.limits.max_tokens, generation.stop) == (max_tokens, stop):
            return self
        limits = replace(generation.limits, max_tokens=max_tokens)
        return replace(self, generation=replace(generation, limits=limits, stop=stop))

    async def solve(
        self,
        problem: Problem,
        policy: Policy,
        budget: Budget = Budget(),
        *,
        seed: int = 0,
        observer: Observer = fan_out(),
        journal: Journal = NoJournal(),
        entries: Sequence[Entry] = (),
        solve_id: str = "",
        verification: Verification = NO_EVIDENCE,
    ) -> Result:
        """Solve one problem.

        Args:
            problem: What to solve. Without a check nothing can pass, and votes decide.
            policy: Spends the budget.
            budget: Hard limits.
            seed: Of all sampling.
            observer: Is told of everything that happens.
            journal: Keeps finished work.
            entries: What an earlier run of the same solve kept: it is neither generated nor judged again.
            solve_id: Leads the ids of the engine's requests, so that its logs can be followed.
            verification: What may be spent on evidence where the problem has no check.

        Returns:
            The result. Having no answer is a result, not an error. Losers were aborted in the engine.

        Raises:
            RequestRefused: The problem can never be put to this engine.
            EngineError: The engine is gone.
            FieldError: No verifier can work with the problem's check, or the engine cannot join branches again.
            BudgetError: The tokens do not suffice for candidates and evidence.
        """
        if budget.rejoins and not self.generation.rejoins(self.engine.info):
            raise FieldError(
                "rejoins",
                f"is {budget.rejoins}, but {self.engine.info.model} has no branches here that could be joined again; "
                "leave it out, or take a model with the tags in the embedded engine or on SGLang servers",
            )
        run = _Run(self, problem, policy, budget, seed, observer, journal, solve_id, verification)
        try:
            return await run.complete(entries)
        except BaseExceptionGroup as group:
            raise first_cause(group) from group


class _Run:
    """One solve on its way."""

    def __init__(
        self,
        solver: Solver,
        problem: Problem,
        policy: Policy,
        budget: Budget,
        seed: int,
        observer: Observer,
        journal: Journal,
        solve_id: str,
        verification: Verification,
    ) -> None:
        self._solver = solver
        self._problem = problem
        self._policy = policy
        self._observer = observer
        self._journal = journal
        self._budget = budget
        self._round: int | None = 0
        # Ids are new in each run: a worker that lost a job may still be at it beside the one that took it over.
        self._id = "/".join(filter(None, (solve_id, os.urandom(6).hex())))
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._group = asyncio.TaskGroup()
        self._reports: asyncio.Queue[Candidate | VerifiedCandidate | None] = asyncio.Queue()
        self._attempts: dict[int, _Attempt] = {}
        self._verdicts: dict[str, asyncio.Task[Verdict]] = {}
        self._classes = AnswerClasses(solver.verifiers, self._verify_timeout)
        if self._checkable:  # a check judges: no evidence beside it
            verification = NO_EVIDENCE
            budget = replace(budget, comparisons=0) if budget.comparisons else budget
        left, texts = verification.divide(budget, solver.generation.limits.max_tokens)
        self._state = begin(seed, left)
        self._votes: Mapping[int, float] = {}

        def calls() -> ModelCalls:
            return ModelCalls(solver.engine, solver.templates.words, solver.generation, problem, self._id)

        self._examples = StatedExamples.of(problem.text) if problem.check is None else NO_EXAMPLES
        self._evidence = (
            ProgramEvidence(calls(), texts, seed, observer, journal, self._examples)
            if texts or self._examples
            else None
        )
        self._comparer = AnswerComparer(calls(), seed) if budget.comparisons else None
        self._tests: asyncio.Task[GeneratedTests] | None = None
        self._runs: dict[str, asyncio.Task[Verdict]] = {}
        self._tested: dict[str, asyncio.Task[JudgedProgram]] = {}

    @property
    def _checkable(self) -> bool:
        """Whether a verdict on an answer can be PASS."""
        return self._problem.check is not None and not isinstance(self._problem.check, StepCheck)

    @property
    def _seconds(self) -> float:
        return self._loop.time() - self._started

    # The loop.

    async def complete(self, entries: Sequence[Entry]) -> Result:
        examples = tuple(one.text for one in self._examples.examples)
        self._observer(Accepted(self._problem, self._policy.name, self._budget, self._state.seed, examples))
        with self._alarm():
            async with self._group:
                tests = [entry for entry in entries if entry.candidate.spec.way == TESTS_WAY]
                if self._evidence is not None:
                    self._tests = self._group.create_task(self._evidence.write(tests))
                self._restore([entry for entry in entries if entry not in tests])
                specs = self._policy.ask(self._state)
                while True:
                    if self._comparer is not None and all(attempt.judged for attempt in self._attempts.values()):
                        await self._compare(self._comparer)
                        specs = self._policy.ask(self._state)
                    for spec in specs:
                        if spec.index not in self._attempts:
                            self._sample(spec)
                    if all(attempt.judged for attempt in self._attempts.values()):
                        break
                    known = self._state
                    await self._take(await self._reports.get())
                    if self._state is not known:  # the same state asks for the same
                        specs = self._policy.ask(self._state)
                        self._note_round(specs)
        judged = tuple(attempt.judged for _, attempt in sorted(self._attempts.items()) if attempt.judged)
        votes = self._state.votes
        selection = self._solver.trust.weigh(select(judged, votes), judged, votes)
        verification = sum((one.usage for one in (self._evidence, self._comparer) if one), Usage())
        spent = spend(judged, selection.candidate, self._seconds, verification)
        result = Result(
            self._problem, selection, self._state.stopped or Stop.CANDIDATES, judged, spent, self._state.seed
        )
        self._observer(Solved(result))
        return result

    async def _compare(self, comparer: AnswerComparer) -> None:
        """While nothing is sampled: the comparisons that the policy asks for, as far as there is time."""
        limit = self._budget.seconds
        try:
            async with asyncio.timeout(None if limit is None else max(0.0, limit - self._seconds)):
                while pair := self._policy.compare(self._state):
                    first, second = (self._attempts[one.index].judged for one in pair)
                    assert first and second  # noqa: S101 (they are told)
                    comparison, cost = await comparer.compare(first.candidate, second.candidate)
                    self._state = self._policy.compared(self._state, comparison)
                    self._observer(Compared(comparison, cost, self._changed_votes()))
        except TimeoutError:
            self._state = stop(self._state, Stop.SECONDS)

    def _restore(self, entries: Sequence[Entry]) -> None:
        """Go on from the candidates that an earlier run stored. What examples and tests say of them is asked again."""
        if self._evidence is not None:
            entries = [Entry(replace(entry.candidate, answer_class=None, examples=None)) for entry in entries]
        for entry in entries:
            self._attempts[entry.candidate.spec.index] = _Attempt()
        for entry in entries:
            if entry.verdict is not None:
                candidate = self._attempts[entry.candidate.spec.index].candidate = entry.candidate
                self._classes.restore(candidate)
                self._tell(VerifiedCandidate(candidate, entry.verdict))
        for entry in entries:
            if entry.verdict is None:
                self._judge_or_drop(entry.candidate)
                for found in entry.candidate.branch_answers:
                    self._verify_branch_answer(entry.candidate.spec, found)

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Report None at the deadline: one timer for the whole solve, not one for each report."""
        limit = self._state.budget.seconds
        if limit is None:
            yield
            return
        alarm = self._loop.call_at(self._started + limit, self._reports.put_nowait, None)
        try:
            yield
        finally:
            alarm.cancel()

    async def _take(self, report: Candidate | VerifiedCandidate | None) -> None:
        stopped = self._state.stopped
        match report:
            case None:
                self._state = stop(self._state, Stop.SECONDS)
            case Candidate():
                self._judge_or_drop(report)
            case VerifiedCandidate() if not self._attempts[report.candidate.spec.index].judged:
                self._tell(report)
        if self._state.stopped and not stopped:
            await self._release()

    def _judge_or_drop(self, candidate: Candidate) -> None:
        attempt = self._attempts[candidate.spec.index]
        attempt.candidate = candidate
        if self._state.stopped:
            self._settle(VerifiedCandidate(candidate, NOT_JUDGED))
        else:
            attempt.judging = self._group.create_task(self._judge(candidate))

    def _tell(self, judged: VerifiedCandidate) -> None:
        """Tell the policy of a candidate, then those who watch."""
        self._state = self._policy.tell(self._state, judged.candidate, judged.verdict)
        self._settle(judged)

    def _settle(self, judged: VerifiedCandidate) -> None:
        self._attempts[judged.candidate.spec.index].judged = judged
        self._observer(CandidateFinished(judged.candidate, judged.verdict, self._changed_votes()))

    def _changed_votes(self) -> dict[int, float]:
        """What has changed in the vote since those who watch were told of it."""
        before, self._votes = self._votes, self._state.votes
        return changed(before, self._votes)

    def _note_round(self, specs: tuple[Spec, ...]) -> None:
        """Say that a round is over: another one begins, or nothing more is asked for."""
        following = specs[0].round if specs else None
        if self._round is not None and following != self._round:
            self._observer(RoundFinished(self._round, self._state))
        self._round = following

    async def _release(self) -> None:
        """Nothing more is needed: end judging here and generating in the engine, whose reports still come."""
        for attempt in self._attempts.values():
            if attempt.judging and attempt.candidate and not attempt.judged:
                attempt.judging.cancel()
                self._settle(VerifiedCandidate(attempt.candidate, self._known(attempt.candidate)))
            for branch in attempt.branches:
                branch.cancel()
        for waiting in (*self._verdicts.values(), *self._tested.values(), *self._runs.values(), self._tests):
            if waiting is not None:
                waiting.cancel()
        if generating := [index for index, attempt in self._attempts.items() if attempt.is_generating]:
            await asyncio.gather(*map(self._abort, generating))
            self._group.create_task(self._cancel_stragglers())

    def _known(self, candidate: Candidate) -> Verdict:
        """The verdict on a candidate that nothing waits for any more, if its answer has one already."""
        judging = self._verdicts.get(candidate.answer or "")
        if judging is None or not judging.done() or judging.cancelled() or judging.exception():
            return NOT_JUDGED
        return judging.result()

    async def _abort(self, index: int) -> None:
        with suppress(EngineError):  # an engine that is gone runs nothing
            await self._solver.engine.abort(self._request_id(index))

    async def _cancel_stragglers(self) -> None:
        """Close the streams of an engine that does not end its requests, and count what has come of them."""
        generating = [attempt for attempt in self._attempts.values() if attempt.is_generating]
        if tasks := [attempt.generating for attempt in generating if attempt.generating]:
            await asyncio.wait(tasks, timeout=ABORT_SECONDS)
        for attempt in generating:
            if attempt.generating and attempt.builder and not attempt.generating.done():
                attempt.generating.cancel()
                self._reports.put_nowait(attempt.builder.candidate(self._seconds))

    # Generating.

    def _request_id(self, index: int) -> str:
        return f"{self._id}/{index}"

    def _sample(self, spec: Spec) -> None:
        engine = self._solver.engine
        form = PROGRAM if self._evidence is not None or self._by_program(spec) else self._problem.check
        builder = CandidateBuilder(spec, engine.tokenizer, form, engine.info.end_of_turn, self._solver.generation.stop)
        attempt = self._attempts[spec.index] = _Attempt(builder=builder)
        attempt.generating = self._group.create_task(self._generate(spec, builder))

    async def _generate(self, spec: Spec, builder: CandidateBuilder) -> None:
        engine = self._solver.engine
        asked = question(self._problem.text, spec)
        template = self._solver.templates.of(spec.way if self._has_ways else "")
        prompt = template.encode(engine.tokenizer, asked, self._problem.context)
        given = None
        if spec.rejoin is not None:
            given = self._branches_of(spec.rejoin, prompt)
            builder.begin(given)
        request = self._solver.generation.request(self._request_id(spec.index), prompt, spec, engine.info, given)
        ended = False
        told = template.filled(asked) if self._by_program(spec) else asked
        self._observer(CandidateStarted(spec, told if told != self._problem.text else None, prompt))
        try:
            async with closing(engine.generate(request)) as events:
                async for event in events:
                    found = builder.feed(event)
                    self._observer(Streamed(spec.index, event, builder.text))
                    if found is not None:
                        self._verify_branch_answer(spec, found)
                    if builder.stopped and not ended:
                        ended = True
                        await self._abort(spec.index)
        except RequestRefused as error:
            if spec.repair is None and spec.rejoin is None:
                raise
            builder.refuse(str(error))  # what it begins with makes it too long; fresh samples still fit
        except EngineError:
            if not self._state.stopped:
                raise
        passed = self._attempts[spec.index].passed
        candidate = builder.candidate(self._seconds, passed[0] if passed else None)
        if self._state.budget.rejoins and spec.rejoin is None:
            candidate = replace(candidate, branches=builder.branches)
        if not self._state.stopped:
            await self._journal.generated(candidate)
        self._reports.put_nowait(candidate)

    def _branches_of(self, index: int, prompt: tuple[int, ...]) -> Rollout:
        """The finished branches of a candidate."""
        from espalier.runtime.decoding.given import read_given  # here: it needs numpy, which the base install lacks

        engine, candidate = self._solver.engine, self._attempts[index].candidate
        if candidate is None:
            raise RuntimeError(f"candidate {index} has not ended")
        vocabulary = Vocabulary.of(engine.tokenizer, end_of_turn=engine.info.end_of_turn)
        tokens, limits = prompt + candidate.branches, self._solver.generation.limits.grammar
        return read_given(tokens, len(candidate.branches), vocabulary, limits)

    # Judging.

    def _by_program(self, spec: Spec) -> bool:
        """Whether a candidate states a program that prints its answer."""
        return spec.way == Way.PROGRAM and self._has_ways

    @property
    def _has_ways(self) -> bool:
        """Whether the problem can be solved in several ways. One that asks for a program or a patch has one."""
        return self._evidence is None and not isinstance(self._problem.check, PatchCheck | ProgramCheck)

    async def _judge(self, candidate: Candidate) -> None:
        """The verdict on a candidate: that on its answer, unless one of its steps had the right one."""
        attempt = self._attempts[candidate.spec.index]
        if self._by_program(candidate.spec):
            # Of a stored candidate the answer may be what a step's program printed, which is no program itself.
            await asyncio.gather(*attempt.branches)
        passed = attempt.passed
        if not passed:
            candidate, verdict = await self._verdict_of(candidate)
            if not verdict.passed:
                await asyncio.gather(*attempt.branches)
                passed = attempt.passed
        if passed:
            branch, verdict = passed
            candidate = replace(candidate, answer=branch.answer)
        if verdict.status is Status.UNKNOWN and self._tests is None:
            # A check that could not decide on the answer has judged those of the steps, and programs are no answers.
            steps = not self._checkable and not self._by_program(candidate.spec)
            candidate = await self._classes.classed(candidate, steps=steps)
        await self._journal.judged(candidate, verdict)
        self._reports.put_nowait(VerifiedCandidate(candidate, verdict))

    async def _verdict_of(self, candidate: Candidate) -> tuple[Candidate, Verdict]:
        """The verdict on a candidate's own answer, and the candidate with that answer: what its program prints."""
        index = candidate.spec.index
        if candidate.answer is None:
            return candidate, self._no_answer()
        if self._tests is not None:
            judged = await self._test(self._tests, index, candidate.answer)
            return replace(candidate, answer_class=judged.answer_class, examples=judged.examples), judged.verdict
        if self._by_program(candidate.spec):
            ran = await self._run_program(candidate.answer)
            if not ran.passed:
                verdict = evidence(ran)
                self._observer(AnswerJudged(index, (), candidate.answer, verdict, repeated=False))
                return candidate, verdict
            candidate = replace(candidate, answer=printed(ran))
            if candidate.answer is None:
                return candidate, self._no_answer()
            if not self._checkable:
                verdict = evidence(ran)
                self._observer(AnswerJudged(index, (), candidate.answer, verdict, repeated=False))
                return candidate, verdict
        assert candidate.answer is not None  # noqa: S101 (it is stated or printed)
        verdict = await self._verdict_on(index, (), candidate.answer, candidate.text)
        if verdict.status is Status.UNKNOWN and self._checkable:
            verdict = await self._add_step_score(verdict, candidate.text)
        return candidate, verdict

    def _no_answer(self) -> Verdict:
        return no_answer(self._problem.check if self._checkable else None)

    async def _run_program(self, program: str) -> Verdict:
        """How the run of a program ended; each distinct program runs once."""
        running = self._runs.get(program)
        if running is None:
            claim, timeout = Claim(program, bare=True), self._verify_timeout()
            running = self._group.create_task(self._solver.verifiers.verify(claim, RUN, timeout=timeout))
            self._runs[program] = running
        return await running

    async def _test(self, written: asyncio.Task[GeneratedTests], index: int, program: str) -> JudgedProgram:
        """What stated examples and generated tests say of a program."""
        assert self._evidence is not None  # noqa: S101 (there are tests)
        tests = await asyncio.shield(written)
        testing = self._tested.get(program)
        repeated = testing is not None
        if testing is None:
            judging = self._evidence.judge(tests, program, self._solver.verifiers, self._verify_timeout())
            testing = self._tested[program] = self._group.create_task(judging)
        judged = await testing
        self._observer(AnswerJudged(index, (), program, judged.verdict, repeated))
        return judged

    def _verify_branch_answer(self, spec: Spec, found: BranchAnswer) -> None:
        """A step has stated an answer: have it judged, if that can help."""
        if self._checkable and not self._state.stopped:
            task = self._group.create_task(self._verify_branch(spec, found))
            self._attempts[spec.index].branches.append(task)

    async def _verify_branch(self, spec: Spec, found: BranchAnswer) -> None:
        """The verdict on a step's answer: if it is right, the rest of the response is not needed."""
        index = spec.index
        if self._by_program(spec):
            ran = await self._run_program(found.answer)
            output = printed(ran) if ran.passed else None
            if output is None:
                return
            found = replace(found, answer=output)
        verdict = await self._verdict_on(index, found.path, found.answer, found.answer)
        attempt = self._attempts[index]
        if verdict.passed and not attempt.passed:
            attempt.passed = (found, verdict)
            if attempt.is_generating:
                await self._abort(index)

    async def _verdict_on(self, index: int, path: Path, answer: str, response: str) -> Verdict:
        """One verdict for each distinct answer; where answers cannot be judged, the reasoning is."""
        claim, check = Claim(answer, bare=True, problem=self._problem.text), self._problem.check
        if check is None or not self._checkable:
            claim, check = Claim(response, problem=self._problem.text), StepCheck()
        judging = self._verdicts.get(claim.text)
        repeated = judging is not None
        if judging is None:
            judging = self._group.create_task(
                self._solver.verifiers.verify(claim, check, timeout=self._verify_timeout())
            )
            self._verdicts[claim.text] = judging
        verdict = await judging
        self._observer(AnswerJudged(index, path, answer, verdict, repeated))
        return verdict

    async def _add_step_score(self, undecided: Verdict, response: str) -> Verdict:
        """A verdict of a check that could not decide, with the reasoning's score for the votes that have to."""
        claim = Claim(response, problem=self._problem.text)
        steps = await self._solver.verifiers.verify(claim, StepCheck(), timeout=self._verify_timeout())
        if steps.status is Status.ERROR:
            return undecided
        evidence = (*undecided.evidence, *steps.evidence)
        return replace(undecided, score=steps.score, evidence=evidence, feedback=undecided.feedback or steps.feedback)

    def _verify_timeout(self) -> float:
        """Seconds that a verdict may take."""
        limit, most = self._state.budget.seconds, verify_seconds(self._problem.check)
        return most if limit is None else max(0.001, min(most, limit - self._seconds))


@dataclass(slots=True)
class _Attempt:
    """What a solve knows of one candidate, from its first token to its verdict.

    Attributes:
        builder: Folds the events of the response; None for one that an earlier run generated.
        generating: Reads the response.
        candidate: The response, once it has ended.
        judging: Works out the verdict.
        branches: Work out the verdicts on the answers of its steps.
        passed: The step's answer that satisfied the check first, with its verdict.
        judged: The candidate with its verdict: nothing is left to do.
    """

    builder: CandidateBuilder | None = None
    generating: asyncio.Task[None] | None = None
    candidate: Candidate | None = None
    judging: asyncio.Task[None] | None = None
    branches: list[asyncio.Task[None]] = field(default_factory=list)
    passed: tuple[BranchAnswer, Verdict] | None = None
    judged: VerifiedCandidate | None = None

    @property
    def is_generating(self) -> bool:
        """Whether its response has not been reported yet."""
        return self.generating is not None and self.candidate is None
