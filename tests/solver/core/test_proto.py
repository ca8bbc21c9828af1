"""What a worker stores comes back equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.common.errors import FieldError
from espalier.runtime.engine import FinishReason, Tokens, Usage
from espalier.runtime.prompt import ROLES, ChatMessage
from espalier.solver.core.candidate import BranchAnswer, Candidate, Repair, Spec
from espalier.solver.core.events import Streamed
from espalier.solver.core.journal import Entry
from espalier.solver.core.limits import MAX_TEXT
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import (
    decode_entry,
    decode_problem,
    decode_settings,
    encode_entry,
    encode_event,
    encode_problem,
    encode_settings,
)
from espalier.solver.core.settings import Settings
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.verdict import Evidence, Status, Verdict

counts = st.integers(0, 2**31 - 1)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
scores = st.floats(0, 1)
usages = st.builds(Usage, counts, counts, counts, counts)
specs = st.builds(
    Spec,
    index=counts,
    round=counts,
    seed=counts,
    temperature=st.floats(0, 10),
    max_tokens=st.none() | counts,
    hint=texts,
    repair=st.none() | st.builds(Repair, counts, texts, texts),
    rejoin=st.none() | counts,
)
paths = st.lists(st.tuples(counts, counts), max_size=3).map(tuple)
candidates = st.builds(
    Candidate,
    spec=specs,
    text=texts,
    answer=st.none() | texts,
    branch_answers=st.lists(st.builds(BranchAnswer, paths, texts, st.none() | counts), max_size=3).map(tuple),
    reason=st.sampled_from(FinishReason),
    usage=usages,
    seconds=st.floats(0, 1e6),
    forked=st.booleans(),
    well_formed=st.booleans(),
    detail=texts,
    answer_class=st.none() | counts,
    branches=st.lists(counts, max_size=4).map(tuple),
)
verdicts = st.builds(
    Verdict,
    status=st.sampled_from(Status),
    score=scores,
    decided_by=texts,
    evidence=st.lists(st.builds(Evidence, texts, texts), max_size=3).map(tuple),
    feedback=texts,
)


problems = st.builds(
    Problem,
    id=texts,
    text=texts.filter(str.strip),
    context=st.lists(st.builds(ChatMessage, st.sampled_from(ROLES), texts), max_size=3).map(tuple),
)


@given(problems, st.lists(texts, max_size=3).map(tuple))
def test_a_request_comes_back_equal(problem: Problem, stop: tuple[str, ...]) -> None:
    assert decode_problem(encode_problem(problem)) == problem
    assert decode_settings(encode_settings(Settings(stop=stop, k=2))) == Settings(stop=stop, k=2)


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ([{"role": "tool", "content": "x"}], "problem.context[0].role"),
        ([{"role": "user", "content": "x" * MAX_TEXT}], "problem.context"),
    ],
)
def test_a_context_that_is_no_conversation_is_refused(context: list[dict[str, str]], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        decode_problem(common_pb2.Problem(text="x", context=[common_pb2.ChatMessage(**turn) for turn in context]))
    assert caught.value.field == field


@given(st.builds(Entry, candidates, st.none() | verdicts))
def test_an_entry_comes_back_equal(entry: Entry) -> None:
    stored = encode_entry(entry).SerializeToString()
    assert decode_entry(pb.Candidate.FromString(stored)) == entry


def test_tokens_are_told_to_those_alone_who_ask_for_them() -> None:
    event = Streamed(3, Tokens("r", (), (7,), (-0.5,), (False,), (0,)), "x")
    told = encode_event("s", event, 1.5, deltas=True)
    assert told is not None
    assert (list(told.delta.token_ids), told.delta.text) == ([7], "x")
    assert encode_event("s", event, 1.5, deltas=False) is None
