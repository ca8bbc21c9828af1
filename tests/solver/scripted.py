"""An engine and a judge that replay what a test wrote down."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.runtime.decoding.finished import with_structure
from espalier.runtime.decoding.response import Response
from espalier.runtime.engine import (
    EngineInfo,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Mode,
    RequestRefused,
)
from espalier.runtime.grammar import EIGHT_TAGS, Vocabulary
from espalier.runtime.layout import Path, layout
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Evidence, Status, Verdict

EOS = 1


class ScriptedTokenizer:
    """One token per character; the eight tags are tokens of their own."""

    eos_token_id = EOS

    def encode(self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False) -> list[int]:
        tags = () if split_special_tokens else EIGHT_TAGS
        tokens: list[int] = []
        while text:
            tag = next((i for i, tag in enumerate(tags, start=2) if text.startswith(tag.value)), None)
            tokens.append(ord(text[0]) + 16 if tag is None else tag)
            text = text[1 if tag is None else len(EIGHT_TAGS[tag - 2].value) :]
        return tokens

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        return "".join(
            chr(token - 16) if token >= 16 else EIGHT_TAGS[token - 2].value if token > EOS else "<end>"
            for token in tokens
        )

    def get_added_vocab(self) -> dict[str, int]:
        return {tag.value: token for token, tag in enumerate(EIGHT_TAGS, start=2)}

    def convert_tokens_to_ids(self, tokens: str) -> int | None:
        return self.encode(tokens)[0]

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        return "".join(f"[{message['content']}]" for message in messages)


def response(*steps: str, answer: str = "", takeaway: str = "compare") -> str:
    """A well-formed response with one block, in linearised order; without steps just the answer."""
    if not steps:
        return answer
    plans = "".join(f"<plan>{i}: plan {i}</plan>" for i in range(1, len(steps) + 1))
    done = "".join(f"\n<step>\n{i}:{step}</step>" for i, step in enumerate(steps, start=1))
    return f"<guideline>{plans}</guideline>{done}<takeaway>\n{takeaway}</takeaway>{answer}"


def boxed(answer: str) -> str:
    return f"so \\boxed{{{answer}}}"


@dataclass
class ScriptedEngine:
    """Replays responses token by token, through the machine of branches that both engines decode with.

    Attributes:
        script: From a request and the number of requests before it to the response's text. `None` never ends.
        context: Tokens that a prompt must stay below.
        deaf: Ignores aborts.
        fails_after: Tokens after which the engine is gone.
    """

    script: Callable[[GenerateRequest, int], str | None]
    context: int = 1 << 20
    deaf: bool = False
    fails_after: int | None = None
    requests: list[GenerateRequest] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    emitted: Counter[str] = field(default_factory=Counter)
    tokenizer: ScriptedTokenizer = field(default_factory=ScriptedTokenizer)
    info: EngineInfo = field(default_factory=lambda: EngineInfo("scripted", 1 << 20, parallel=True))

    @classmethod
    def of(cls, *texts: str | None, **settings: Any) -> ScriptedEngine:
        """The n-th request gets the n-th text; the last one serves all that follow."""
        return cls(lambda _, number: texts[min(number, len(texts) - 1)], **settings)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        if len(request.prompt) >= self.context:
            raise RequestRefused(f"prompt has {len(request.prompt)} tokens; the context holds {self.context}")
        number = len(self.requests)
        self.requests.append(request)
        self.running.add(request.request_id)
        self.busy.set()
        try:
            async for event in self._replay(request, self.script(request, number)):
                yield event
        finally:
            self.running.discard(request.request_id)

    async def abort(self, request_id: str) -> None:
        if request_id in self.running:
            self.aborted.append(request_id)

    async def close(self) -> None:
        pass

    async def _replay(self, request: GenerateRequest, text: str | None) -> AsyncIterator[Event]:
        name = request.request_id
        vocabulary = Vocabulary.of(self.tokenizer, end_of_turn=self.info.end_of_turn)
        words = self._words(request, vocabulary, "…" * 10_000 if text is None else text)
        decoded = Response(request, vocabulary, self.info.context_length, end_of_turn=frozenset({EOS}))
        while decoded.finished is None:
            for branch in [one for one in decoded.own_branches() if not one.suspended and not one.closed]:
                await asyncio.sleep(0.001 if text is None else 0)
                if self.fails_after is not None and self.emitted[name] >= self.fails_after:
                    raise EngineUnavailable("the scripted engine is gone")
                if name in self.aborted and not self.deaf:
                    decoded.finish(FinishReason.ABORTED)
                elif decoded.finished is None:
                    decoded.accept(branch, words[branch.path].popleft(), 0.0)
                told = sum(len(one.tokens) for one in decoded.own_branches())
                self.emitted[name] = told - (decoded.given_tokens or 1)
                for event in decoded.take_events():
                    if isinstance(event, Finished):
                        yield with_structure(event, vocabulary, request.limits.grammar)
                    else:
                        yield event

    def _words(self, request: GenerateRequest, vocabulary: Vocabulary, text: str) -> dict[Path, deque[int]]:
        """What each branch samples, in order: the text without what the engine forces."""
        tokens = [*self.tokenizer.encode(text), EOS]
        if request.mode is Mode.SEQUENTIAL:
            return {(): deque(tokens)}
        placed = layout(tokens, 0, vocabulary)
        words: dict[Path, deque[int]] = {}
        for token, branch, is_forced in zip(tokens, placed.branch, _forced(tokens, vocabulary), strict=True):
            if not is_forced:
                words.setdefault(placed.branches[branch].path, deque()).append(token)
        return words


def _forced(tokens: Sequence[int], vocabulary: Vocabulary) -> list[bool]:
    openings = [vocabulary.step_opening(i) for i in range(1, 9)] + [vocabulary.takeaway_opening()]
    forced = [False] * len(tokens)
    for at in range(len(tokens)):
        for opening in openings:
            if tuple(tokens[at : at + len(opening)]) == opening:
                forced[at : at + len(opening)] = [True] * len(opening)
    return forced


@dataclass
class ScriptedJudge:
    """Gives the verdicts of a table, UNKNOWN with score 1 to what is not in it; counts what it was asked.

    Attributes:
        verdicts: By the text of the claim.
        seconds: How long each verdict takes.
        gate: What each verdict waits for.
        same: Groups of equivalent answers.
    """

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    seconds: float = 0.0
    gate: asyncio.Event | None = None
    same: Sequence[frozenset[str]] = ()
    asked: Counter[str] = field(default_factory=Counter)
    checks: list[Check] = field(default_factory=list)

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        self.asked[claim.text] += 1
        self.checks.append(check)
        await asyncio.sleep(self.seconds)
        if self.gate is not None:
            await self.gate.wait()
        return self.verdicts.get(claim.text, UNKNOWN)

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        pass

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        return PASS if any(a in group and b in group for group in self.same) else FAIL


PASS = Verdict(Status.PASS, 1.0, "scripted")
FAIL = Verdict(Status.FAIL, 0.0, "scripted", feedback="it is wrong")
UNKNOWN = Verdict(Status.UNKNOWN, 1.0, "scripted")
ERROR = Verdict(Status.ERROR, 0.0, "scripted", (Evidence("scripted", "the box died"),))
