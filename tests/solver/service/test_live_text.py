"""A response told while it is generated is the response, whatever its branches did side by side."""

from __future__ import annotations

import pytest

from espalier.runtime.engine import GenerateRequest
from espalier.solver.core.candidate import Spec
from espalier.solver.core.events import Streamed
from espalier.solver.core.recorder import CandidateBuilder
from espalier.solver.service.live_text import LiveText
from tests.solver.scripted import ScriptedEngine, boxed, response

NESTED = response(
    f" first {response(' inner', ' other inner, longer')} end",
    " second, much longer than the first one is",
    answer=boxed("42"),
)


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        response(" a", " bb " * 20, " c", answer=boxed("42")),
        response(" long " * 20, " b", answer=boxed("42")),
        NESTED,
        response(" a", " b") + response(" c", " d", answer=boxed("42")),
    ],
)
async def test_what_is_told_in_pieces_is_the_response(text: str) -> None:
    engine, live = ScriptedEngine.of(text), LiveText()
    builder = CandidateBuilder(Spec(0, 0, 1, 1.0), engine.tokenizer, None)
    told = []
    async for event in engine.generate(GenerateRequest("one", (20, 21))):
        builder.feed(event)
        told.append(live.feed(Streamed(0, event, builder.text)))
    whole = builder.candidate(0.0).text
    assert whole == text
    assert sum(map(bool, told)) > 5
    rest = live.rest(whole)
    assert "".join(told) + rest == whole
    assert len(rest) <= 1 + len("</step>")


def test_another_response_than_was_told_has_no_rest() -> None:
    from espalier.runtime.engine import Tokens

    live = LiveText()
    for text in ("one ", "two ", "three"):
        live.feed(Streamed(0, Tokens("one", (), (1,), (0.0,), (False,), (0,)), text))
    assert live.rest("one two three") == "three"
    assert live.rest("another") == ""
