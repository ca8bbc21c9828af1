"""What a worker stores comes back equal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.batch.proto import decode_entry, encode_entry
from espalier.solver.core.candidate import BranchAnswer, Candidate, Repair, Spec
from espalier.solver.core.journal import Entry
from espalier.v1 import batch_pb2
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
    stored = encode_entry(entry).SerializeToString()
    assert decode_entry(batch_pb2.StoredCandidate.FromString(stored)) == entry
