"""What a worker stores comes back equal; events have one JSON form."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import FinishReason, Tokens, Usage
from espalier.runtime.layout import Path
from espalier.solver.core.candidate import BranchAnswer, Candidate, Repair, Spec
from espalier.solver.core.events import Streamed
from espalier.solver.core.journal import Entry
from espalier.solver.core.proto import decode_entry, encode_candidate, encode_event, to_json
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
)
paths = st.lists(st.tuples(counts, counts), max_size=3).map(tuple)
candidates = st.builds(
    Candidate,
    spec=specs,
    text=texts,
    answer=st.none() | texts,
    branch_answers=st.lists(st.builds(BranchAnswer, paths, texts), max_size=3).map(tuple),
    reason=st.sampled_from(FinishReason),
    usage=usages,
    seconds=st.floats(0, 1e6),
    forked=st.booleans(),
    well_formed=st.booleans(),
    detail=texts,
    answer_class=st.none() | counts,
)
verdicts = st.builds(
    Verdict,
    status=st.sampled_from(Status),
    score=scores,
    decided_by=texts,
    evidence=st.lists(st.builds(Evidence, texts, texts), max_size=3).map(tuple),
    feedback=texts,
)


@given(st.builds(Entry, candidates, st.none() | verdicts))
def test_an_entry_comes_back_equal(entry: Entry) -> None:
    stored = encode_candidate(entry.candidate, entry.verdict).SerializeToString()
    assert decode_entry(pb.Candidate.FromString(stored)) == entry


@given(paths, texts, st.lists(st.tuples(counts, st.booleans(), st.floats(-50, 0, width=32), counts), max_size=5))
def test_the_json_of_a_delta_is_that_of_protobuf(
    path: Path, text: str, tokens: list[tuple[int, bool, float, int]]
) -> None:
    ids, forced, logprobs, positions = (tuple(values) for values in zip(*tokens, strict=True)) if tokens else ((),) * 4
    event = Streamed(3, Tokens("r", path, ids, logprobs, forced, positions), text)
    message = encode_event("s", event, 1.5, deltas=True)
    assert message is not None
    told, expected = (
        to_json(message),
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True),
    )
    assert told["delta"].pop("logprobs") == pytest.approx(expected["delta"].pop("logprobs"), rel=1e-5)
    assert told == expected
    assert encode_event("s", event, 1.5, deltas=False) is None
