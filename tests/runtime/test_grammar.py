from __future__ import annotations

import pytest

from espalier.runtime.grammar import (
    ROOT,
    CloseBranch,
    Continue,
    Finish,
    Fork,
    GrammarLimits,
    Malformed,
    Span,
    Tag,
    TagError,
    Vocabulary,
    advance,
    step_state,
)
from tests.runtime.local.tiny import TinyTokenizer
from tests.runtime.trees import VOCABULARY, tag


def feed(state, tokens, limits=GrammarLimits()):
    actions = []
    for at, token in enumerate(tokens):
        state, action = advance(state, token, at, VOCABULARY, limits)
        actions.append(action)
    return state, actions


def test_the_end_of_a_guideline_forks_with_the_contents_of_its_plans():
    guideline = [Tag.GUIDELINE, Tag.PLAN, 40, 41, Tag.END_PLAN, 9, Tag.PLAN, 42, Tag.END_PLAN, Tag.END_GUIDELINE]
    tokens = [tag(item) if isinstance(item, Tag) else item for item in guideline]
    _, actions = feed(ROOT, [50, *tokens])
    assert actions[-1] == Fork((Span(3, 5), Span(8, 9)))
    assert all(isinstance(action, Continue) for action in actions[:-1])


def test_a_forked_branch_waits_for_its_takeaway_and_then_reads_on():
    tokens = [tag(Tag.GUIDELINE), tag(Tag.PLAN), 40, tag(Tag.END_PLAN), tag(Tag.END_GUIDELINE)]
    state, _ = feed(ROOT, [*tokens, *VOCABULARY.takeaway_opening(), 40, tag(Tag.END_TAKEAWAY)])
    assert state == ROOT
    assert advance(state, tag(Tag.END_OF_TURN), 9, VOCABULARY)[1] == Finish()


def test_a_step_reads_its_forced_opening_and_closes_itself():
    _, actions = feed(step_state(1), [*VOCABULARY.step_opening(2), 40, tag(Tag.END_STEP)])
    assert actions[-1] == CloseBranch()
    assert all(isinstance(action, Continue) for action in actions[:-1])


def test_a_step_may_not_end_the_turn():
    _, actions = feed(step_state(1), [*VOCABULARY.step_opening(1), tag(Tag.END_OF_TURN)])
    assert isinstance(actions[-1], Malformed)


@pytest.mark.parametrize(("plans", "allowed", "forks"), [(3, 3, True), (4, 3, False)])
def test_the_number_of_plans_is_limited(plans, allowed, forks):
    guideline = [tag(Tag.GUIDELINE), *[tag(Tag.PLAN), 40, tag(Tag.END_PLAN)] * plans, tag(Tag.END_GUIDELINE)]
    _, actions = feed(ROOT, guideline, GrammarLimits(max_plans=allowed))
    assert isinstance(actions[-1], Fork if forks else Malformed)


def test_ids_come_from_the_tokenizer():
    vocabulary = Vocabulary.of(TinyTokenizer(), max_plans=12)
    assert vocabulary.step_opening(12) == (9, vocabulary.id_of(Tag.STEP), 9, 11, 12, 20)
    assert vocabulary.tags[8] is Tag.END_OF_TURN


def test_a_tokenizer_without_the_tags_is_refused_by_name():
    class Plain(TinyTokenizer):
        def encode(self, text, *, add_special_tokens=False):
            return [30] * len(text)

    with pytest.raises(TagError, match="splits <guideline> into 11 tokens"):
        Vocabulary.of(Plain())


def test_every_end_of_the_generation_config_ends_a_turn_but_no_tag_does():
    own = TinyTokenizer()
    vocabulary = Vocabulary.of(own, end_of_turn=(8, 21, tag(Tag.END_STEP)))
    assert vocabulary.tags[21] is Tag.END_OF_TURN
    assert vocabulary.tags[tag(Tag.END_STEP)] is Tag.END_STEP
    assert vocabulary.id_of(Tag.END_OF_TURN) == own.eos_token_id
