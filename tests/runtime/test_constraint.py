"""What the automaton forbids is what no well-formed response has, and what it lets through is well-formed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.constraint import FREE, Constraint, automaton
from espalier.runtime.decoding.branch import Branch
from espalier.runtime.decoding.response import Response
from espalier.runtime.engine import FinishReason, GenerateRequest, Limits, Mode, RequestRefused
from espalier.runtime.grammar import ROOT, GrammarLimits, Malformed, Place, State, Tag, advance, step_state
from espalier.runtime.structure import read
from tests.runtime.trees import TEXT, VOCABULARY, place, responses, tag


def no_well_formed_response_goes_on(state: State, own: list[int], token: int, limits: GrammarLimits) -> bool:
    """The rules, written out: `own` are the branch's tokens before this one."""
    match VOCABULARY.tags[token]:
        case Tag.GUIDELINE if state.depth >= limits.max_depth:
            return True
        case Tag.PLAN if len(state.plans) >= limits.max_plans:
            return True
        case Tag.END_PLAN if state.opened_at == len(own):
            return True
        case Tag.END_OF_TURN if own[-1:] == [tag(Tag.END_TAKEAWAY)] or tag(Tag.END_TAKEAWAY) not in own:
            return True
    return isinstance(advance(state, token, len(own), VOCABULARY, limits)[1], Malformed)


@pytest.mark.parametrize("max_depth", [1, 2, 5])
@pytest.mark.parametrize("max_plans", [1, 2, 3, 8])
def test_every_tag_is_forbidden_where_the_grammar_has_no_place_for_it_and_nowhere_else(max_plans, max_depth):
    """In every state, for every tag: walks go on until they have been everywhere."""
    limits, rng = GrammarLimits(max_plans, max_depth), random.Random(max_plans * 10 + max_depth)
    constraint = Constraint.of(VOCABULARY, limits)
    everywhere = set(range(len(constraint.automaton.moves))) - {FREE}
    if max_depth == 1:  # no step may open a block
        everywhere -= set(reachable(constraint, constraint.automaton.starts[1]))
        everywhere |= set(reachable(constraint, constraint.automaton.starts[2]))
    seen: set[int] = set()
    for _ in range(20_000):
        depth = rng.randint(0, max_depth)
        state, at, own = step_state(depth) if depth else ROOT, constraint.start(depth), list[int]()
        while state.place is not Place.CLOSED and len(own) < 100:
            rules = {token for token in VOCABULARY.tags if no_well_formed_response_goes_on(state, own, token, limits)}
            assert set(constraint.forbidden[at]) == rules, (state, own)
            assert constraint.automaton.forbidden[at][0] == (state.place is Place.FORKED)
            seen.add(at)
            text = [] if state.place is Place.FORKED else [40]
            token = rng.choice([*text, *(VOCABULARY.tags.keys() - rules)])
            state, _ = advance(state, token, len(own), VOCABULARY, limits)
            own.append(token)
            at = constraint.after(at, token)
        assert (at == FREE) == (state.place is Place.CLOSED)
        if seen == everywhere:
            return
    raise AssertionError(f"states {everywhere - seen} were not reached, {seen - everywhere} should not have been")


def reachable(constraint: Constraint, start: int) -> set[int]:
    found, fresh = {FREE}, {start}
    while fresh := fresh - found:
        found |= fresh
        fresh = {to for at in fresh for to in constraint.automaton.moves[at]}
    return found - {FREE}


@given(responses(depth=2))
def test_nothing_of_a_well_formed_response_is_forbidden(response):
    placed = place(response, ())
    tokens, paths = [item.token for item in placed], [item.steps for item in placed]
    constraint = Constraint.of(VOCABULARY, GrammarLimits(max_plans=3, max_depth=3))
    states = constraint.states(tokens, paths)
    assert not any(token in constraint.forbidden[state] for token, state in zip(tokens, states, strict=True))
    assert FREE not in states


def decoding(response: Response) -> list[Branch]:
    return [branch for branch in response.root.family() if not branch.closed and not branch.suspended]


def draw(response: Response, branch: Branch, rng: random.Random) -> int:
    """Text or a tag that is not forbidden; those that lead to an end come more often than others."""
    free = sorted(VOCABULARY.tags.keys() - set(response.forbidden(branch)))
    ends = [token for token in free if "</" in VOCABULARY.tags[token] or VOCABULARY.tags[token] is Tag.END_OF_TURN]
    return rng.choice([*free, *ends * 3, 40])


def walks(limits: Limits, seed: int, count: int) -> Iterator[Response]:
    rng = random.Random(seed)
    for number in range(count):
        request = GenerateRequest(str(number), (50,), limits=limits, constrained=True)
        response = Response(request, VOCABULARY, context_length=100_000)
        while response.finished is None:
            branch = rng.choice(decoding(response))
            response.accept(branch, draw(response, branch, rng), -1.0)
        yield response


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_tokens=400, grammar=GrammarLimits(max_plans=3, max_depth=2)),
        Limits(max_tokens=400, grammar=GrammarLimits(max_plans=1, max_depth=1)),
        Limits(max_tokens=400, max_branch_tokens=9, grammar=GrammarLimits(max_plans=4, max_depth=3)),
    ],
    ids=["nested", "one plan", "steps that are cut"],
)
def test_whatever_is_drawn_a_response_that_ends_is_well_formed(limits):
    reasons = set()
    for response in walks(limits, 1, 200):
        finished = response.finished
        assert finished is not None
        reasons.add(finished.reason)
        if finished.reason is FinishReason.STOP:
            found = read((50, *finished.rollout.tokens), 1, VOCABULARY, limits.grammar)
            assert found.well_formed, found.faults
    assert FinishReason.STOP in reasons
    assert reasons <= {FinishReason.STOP, FinishReason.LENGTH}


def test_the_states_of_a_rollout_are_those_that_it_was_drawn_under():
    """The trainer works out from tokens and paths what the engine had branch by branch."""
    limits = Limits(max_tokens=300, max_branch_tokens=20, grammar=GrammarLimits(max_plans=3, max_depth=2))
    constraint = Constraint.of(VOCABULARY, limits.grammar)
    rng, steps = random.Random(3), 0
    for _ in range(30):
        response = Response(GenerateRequest("r", (50,), limits=limits, constrained=True), VOCABULARY, 100_000)
        under: dict[tuple[object, int], tuple[int, ...]] = {}
        while response.finished is None:
            branch = rng.choice(decoding(response))
            under[branch.path, len(branch.tokens)] = response.forbidden(branch)
            response.accept(branch, draw(response, branch, rng), -1.0)
        rollout = response.finished.rollout
        states = constraint.states(rollout.tokens, rollout.paths)
        counts = {(): 1}  # the prompt's last token is the root's first
        for state, path, forced in zip(states, rollout.paths, rollout.forced, strict=True):
            at = counts.get(path, 0)
            counts[path] = at + 1
            assert forced or constraint.forbidden[state] == under[path, at]
        steps += len(counts) - 1
    assert steps > 50


@given(st.integers(1, 16), TEXT)
def test_what_is_free_stays_free(max_plans, token):
    constraint = Constraint.of(VOCABULARY, GrammarLimits(max_plans))
    assert constraint.forbidden[FREE] == ()
    assert {constraint.after(FREE, each) for each in (*VOCABULARY.tags, token)} == {FREE}


def test_the_tables_do_not_grow_with_the_depth():
    assert len(automaton(8).moves) < 100


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        ({"mode": Mode.SEQUENTIAL}, "constrained must be false in sequential mode"),
        ({"limits": Limits(grammar=GrammarLimits(max_plans=0))}, "max_plans must be at least 1"),
        ({"limits": Limits(grammar=GrammarLimits(max_depth=0))}, "max_depth must be at least 1"),
    ],
)
def test_what_cannot_be_constrained_is_refused_by_name(request_of, said):
    with pytest.raises(RequestRefused, match=said):
        GenerateRequest("r", (50,), constrained=True, **request_of)
