"""A solver and the trainer read the same answer out of the same response."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from espalier.runtime.engine import Finished, FinishReason, Rollout, Tokens, Usage
from espalier.runtime.grammar import Vocabulary
from espalier.solver.core.policy import Spec
from espalier.solver.core.recorder import CandidateBuilder
from espalier.training.rl.rollout import answer_text
from espalier.verifiers.answer import answer_of
from espalier.verifiers.check import Claim, ProgramCheck, ReferenceCheck, StdioCase
from tests.training.conftest import TOKENIZER
from tests.verifiers.test_answer import texts

CHECKS = [ReferenceCheck("1"), ProgramCheck((StdioCase("", "1"),))]


@pytest.mark.parametrize("check", CHECKS, ids=["reference", "program"])
@given(texts, st.booleans())
def test_a_response_states_one_answer_to_solver_and_trainer(
    check: ReferenceCheck | ProgramCheck, text: str, ended: bool
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    vocabulary = Vocabulary.of(tokenizer)
    tokens = tuple(tokenizer.encode(text, add_special_tokens=False)) + (tokenizer.eos_token_id,) * ended
    count = len(tokens)
    rollout = Rollout((), tokens, (0.0,) * count, (False,) * count, tuple(range(count)), ((),) * count)
    builder = CandidateBuilder(Spec(0, 0, 0, 1.0), tokenizer, check)
    builder.feed(Tokens("r", (), tokens, (0.0,) * count, (False,) * count, (0,) * count))
    builder.feed(Finished("r", FinishReason.STOP, Usage(), rollout))
    trained = answer_of(Claim(answer_text(rollout, vocabulary, tokenizer)), check)
    assert builder.candidate(0.0).answer == (trained.text if trained else None)
