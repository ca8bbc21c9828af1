"""An engine and a judge that replay what a test wrote down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.runtime.decoding.finished import with_structure
from espalier.runtime.engine import (
    BranchClosed,
    BranchOpened,
    EngineInfo,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    RequestRefused,
    Rollout,
    Tokens,
    Usage,
)
from espalier.runtime.grammar import EIGHT_TAGS, Vocabulary
from espalier.runtime.layout import layout
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Evidence, Status, Verdict

EOS = 1


class ScriptedTokenizer:
    """One token per character; the eight tags are tokens of their own."""

    eos_token_id = EOS

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        tokens: list[int] = []
        while text:
            tag = next((i for i, tag in enumerate(EIGHT_TAGS, start=2) if text.startswith(tag.value)), None)
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
        return f"[{messages[0]['content']}]"


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
    """Replays responses token by token.

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
        endless = text is None
        tokens = [*self.tokenizer.encode("…" * 10_000 if text is None else text), EOS]
        vocabulary = Vocabulary.of(self.tokenizer)
        placed = layout([*request.prompt, *tokens], len(request.prompt), vocabulary)
        forced = _forced(tokens, vocabulary)
        reason, open_paths, at = FinishReason.STOP, [], 0
        for at, token in enumerate(tokens):
            await asyncio.sleep(0.001 if endless else 0)
            if name in self.aborted and not self.deaf:
                reason = FinishReason.ABORTED
                break
            if at >= request.limits.max_tokens:
                reason = FinishReason.LENGTH
                break
            if self.fails_after is not None and at >= self.fails_after:
                raise EngineUnavailable("the scripted engine is gone")
            path = placed.branches[placed.branch[len(request.prompt) + at]].path
            while open_paths and open_paths[-1] != path[: len(open_paths[-1])]:
                yield BranchClosed(name, open_paths.pop(), cut=False)
            if path and path not in open_paths:
                open_paths.append(path)
                yield BranchOpened(name, path, tuple(self.tokenizer.encode(f"plan {path[-1][1]}")))
            position = int(placed.positions[len(request.prompt) + at])
            self.emitted[name] += 1
            yield Tokens(name, path, (token,), (0.0,), (forced[at],), (position,))
        else:
            at += 1
        seen = slice(len(request.prompt), len(request.prompt) + at)
        rollout = Rollout(
            request.prompt,
            tuple(tokens[:at]),
            (0.0,) * at,
            tuple(forced[:at]),
            tuple(map(int, placed.positions[seen])),
            tuple(placed.branches[branch].path for branch in placed.branch[seen]),
        )
        longest = max(rollout.positions, default=len(request.prompt) - 1) + 1 - len(request.prompt)
        usage = Usage(len(request.prompt), at - sum(forced[:at]), sum(forced[:at]), longest)
        yield with_structure(Finished(name, reason, usage, rollout), vocabulary, request.limits.grammar)


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
