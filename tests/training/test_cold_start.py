from __future__ import annotations

import json
from dataclasses import replace

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from espalier.runtime.engine import FinishReason, Usage
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.local import SEEDLING
from espalier.runtime.structure import read
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.policy import Spec
from espalier.solver.core.problem import Problem
from espalier.solver.core.responses import ResponseFile, Sampling
from espalier.training.data.cli import app
from espalier.training.data.cold_start import Assembly, Solution, assemble, to_json
from espalier.verifiers.check import ReferenceCheck

PROBLEM = Problem("p", "How many clips?", ReferenceCheck("72"))


def solution(number: int, answer: str) -> Solution:
    text = f"To get there we add part {number} first. Then it is\n\\boxed{{{answer}}}.\nI hope this helps!"
    return Solution(text, answer, answer == "72")


SOLUTIONS = [solution(n, "72" if n % 2 else str(n)) for n in range(8)]


def parsed(response: str):
    tokenizer = AutoTokenizer.from_pretrained(SEEDLING)
    tokens = tokenizer.encode(response + tokenizer.eos_token, add_special_tokens=False)
    return read([0, *tokens], 1, Vocabulary.of(tokenizer)), tokenizer, [0, *tokens]


def test_a_response_is_well_formed_and_each_step_is_a_whole_attempt():
    (made,) = assemble(PROBLEM, SOLUTIONS, Assembly(min_steps=4, max_steps=4))
    structure, tokenizer, tokens = parsed(made.response)
    assert structure.well_formed
    (block,) = structure.blocks
    steps = [tokenizer.decode(tokens[step.start : step.end]) for step in block.steps]
    assert len(steps) == 4
    assert all(step.endswith("}.</step>") and step.count("\\boxed") == 1 for step in steps)
    wrong = tuple(i for i, step in enumerate(steps, start=1) if "72" not in step)
    assert made.untrained_steps == wrong
    assert made.response.endswith("The final answer is \\boxed{72}.")
    assert "of 4 agree on 72." in made.response


@pytest.mark.parametrize("seed", range(20))
def test_the_right_answer_always_has_more_votes_than_any_wrong_one(seed):
    same = [solution(n, "71") for n in range(3)] + [solution(n, "72") for n in range(4, 7)]
    for made in assemble(PROBLEM, same, Assembly(seed, 3, 6, per_problem=3)):
        assert 0 < len(made.untrained_steps) < len(made.used)


@pytest.mark.parametrize(
    "solutions",
    [
        [solution(n, "71") for n in range(8)],  # none right
        [solution(n, "72") for n in range(8)],  # not mixed
        [solution(0, "72"), *(solution(n, "71") for n in range(1, 8))],  # outvoted
        [replace(one, text="It is 72.") for one in SOLUTIONS],  # no box
        [replace(one, text="<step> " + one.text) for one in SOLUTIONS],  # spells a tag
        [SOLUTIONS[0], SOLUTIONS[1]] * 4,  # two different ones
    ],
)
def test_what_does_not_support_an_answer_makes_no_response(solutions):
    assert assemble(PROBLEM, solutions, Assembly()) == []


def test_equal_seeds_make_equal_responses_and_others_do_not():
    assert assemble(PROBLEM, SOLUTIONS, Assembly(3)) == assemble(PROBLEM, SOLUTIONS, Assembly(3))
    assert len({assemble(PROBLEM, SOLUTIONS, Assembly(seed))[0].response for seed in range(6)}) > 1
    assert assemble(PROBLEM, [one for one in SOLUTIONS if one.right], Assembly(mixed=False))


def test_the_baseline_gets_the_right_solutions_of_the_same_responses():
    made = assemble(PROBLEM, SOLUTIONS, Assembly())
    lines = [json.loads(line) for line in to_json(made, sequential=True)]
    assert [line["response"] for line in lines] == list(made[0].used)
    assert all(line["response"] in made[0].response for line in lines)


def candidate(number: int, one: Solution, reason: FinishReason = FinishReason.STOP) -> Candidate:
    spec = Spec(number, 0, number, 1.0)
    return Candidate(spec, one.text, one.answer, (), reason, Usage(1, 10, 0, 10), 0.0)


def test_commands_judge_score_filter_and_assemble_stored_responses(tmp_path):
    problems, responses = tmp_path / "problems.jsonl", tmp_path / "responses.jsonl"
    rows = [{"id": name, "text": "How many?", "check": {"reference": {"answer": "72"}}} for name in "pq"]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = ResponseFile(responses, Sampling("model", 0, 1.0, 100))
    for number, one in enumerate(SOLUTIONS):
        kept.add("file", "p", candidate(number, one))
        kept.add("file", "q", candidate(number, solution(number, "3")))
    stored = ["--responses", str(responses)]

    def run(*words: str) -> str:
        ran = CliRunner().invoke(app, list(words))
        assert ran.exit_code == 0, ran.output
        return ran.output

    scored = json.loads(run("score", str(problems), *stored, "--k", "1,8", "--json"))
    assert scored["row"]["pass_at"] == {"1": 0.25, "8": 0.5}
    assert scored["row"]["accuracy_error"] == 0.25
    assert scored["majority"] == 0.5
    alone = tmp_path / "alone.jsonl"
    alone.write_text(json.dumps(rows[0]) + "\n")
    told = run("score", str(alone), *stored, "--k", "1,9", "--json")
    assert told.startswith("pass@9 is left out: no problem has 9 responses with a verdict\n{")
    assert "NaN" not in told
    run("filter", str(problems), *stored, "--min-pass", "0.1", "--out", str(tmp_path / "some.jsonl"))
    assert [json.loads(line)["id"] for line in (tmp_path / "some.jsonl").read_text().splitlines()] == ["p"]
    out, plain = tmp_path / "cold.jsonl", tmp_path / "plain.jsonl"
    told = run("cold-start", str(problems), *stored, "--out", str(out), "--sequential", str(plain))
    assert "1 responses of 1 of 2 problems" in told
    (line,) = map(json.loads, out.read_text().splitlines())
    assert parsed(line["response"])[0].well_formed
    assert plain.read_text().count("\n") == line["response"].count("<step>") - len(line["untrained_steps"])
    refused = CliRunner().invoke(
        app, ["cold-start", str(problems), *stored, "--out", str(out), "--held-out", str(problems), "--n", "2"]
    )
    assert refused.exit_code == 2
    assert "share 2 words with held-out ones" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "{problems}", *["--responses", "{responses}"] * 2], "responses.jsonl is given twice"),
        (["score", "{problems}", "--responses", "{responses}", "--k", "one"], "--k 'one' is no list of numbers"),
        (["score", "{others}", "--responses", "{responses}"], "the ids differ"),
        (["filter", "{others}", "--responses", "{responses}", "--out", "{out}"], "the ids differ"),
        (["filter", "{problems}", "--responses", "{responses}", "--out", "{out}"], "no problem is left"),
        (["filter", "{problems}", "--responses", "{responses}", "--min-pass", "0.9", "--max-pass", "0.1"], "is above"),
        (["sample", "{problems}", "--responses", "{out}", "--engine", "local", "--mode", "tree"], "--mode tree: write"),
        (
            ["sample", "{problems}", "--responses", "{out}", "--engine", "local", "--first", "1"],
            "--first 1 leaves none",
        ),
    ],
)
def test_commands_that_would_write_or_say_nothing_are_refused_with_what_to_mend(tmp_path, words, said):
    paths = {name: str(tmp_path / f"{name}.jsonl") for name in ("problems", "others", "responses", "out")}
    for name, identity in (("problems", "p"), ("others", "q")):
        row = {"id": identity, "text": "How many?", "check": "reference:72"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    kept = ResponseFile(tmp_path / "responses.jsonl", Sampling("model", 0, 1.0, 100))
    kept.add("file", "p", candidate(0, solution(0, "72")))
    command = [word.format(**paths) for word in words]
    if "filter" in command and "the ids differ" not in said:
        command += ["--out", paths["out"], *(["--max-pass", "0.5"] if said == "no problem is left" else [])]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert not (tmp_path / "out.jsonl").exists()
