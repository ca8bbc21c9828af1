"""The same problems as a person would type them, so that the model does not depend on one wording."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from random import Random

from espalier.solver.core.problem import Problem


@cache
def wordings() -> Mapping[str, Sequence[str]]:
    """Templates by task, from `wordings.toml`."""
    return tomllib.loads(files("recipes.seedling").joinpath("wordings.toml").read_text("utf-8"))


def reword(problem: Problem, rng: Random) -> str:
    """The problem's text in other words, with nothing changed in what is asked."""
    text = rng.choice(wordings()[problem.task]).format_map(fields(problem))
    if rng.random() < 0.3:
        text = text.rstrip(".?")
    return text[0].lower() + text[1:] if rng.random() < 0.3 else text


def fields(problem: Problem) -> dict[str, str]:
    """What templates may name: the facts of a problem in the ways in which people write them.

    Numbers: `list` "4, 6 and 10", `commas` "4, 6, 10", `spaced` "4 6 10". Expressions: as generated, `tight` without
    spaces, `words` and `cross` with "times" and "x", `human` "3x + 5" and "x^2", `powers` "3*x^2", `squared` "3x²".
    """
    facts = problem.metadata
    fields: dict[str, str] = {name: str(facts[name]) for name in ("target", "variable", "equation") if name in facts}
    numbers = facts.get("numbers")
    if problem.task == "products":
        numbers = facts["expression"].split(" * ")
    if numbers:
        named = [str(number) for number in numbers]
        fields |= {"list": f"{', '.join(named[:-1])} and {named[-1]}"}
        fields |= {"commas": ", ".join(named), "spaced": " ".join(named)}
    if "expression" in facts:
        expression = facts["expression"]
        fields |= {"expression": expression, "tight": expression.replace(" ", "")}
        fields |= {"words": expression.replace("*", "times"), "cross": expression.replace("*", "x")}
    if "equation" in facts:
        fields["human"] = _without_stars(facts["equation"])
    if "polynomial_expr" in facts:
        polynomial = facts["polynomial_expr"]
        powers = polynomial.replace("**", "^")
        human = _without_stars(powers)
        fields |= {"polynomial": polynomial, "powers": powers, "human": human, "squared": human.replace("^2", "²")}
    if "sequence" in facts:
        fields["sequence"] = ", ".join(map(str, facts["sequence"][:-1]))
    if "numerator" in facts:
        fields["fraction"] = f"{facts['numerator']}/{facts['denominator']}"
    if problem.task == "programming":
        fields["examples"] = ", ".join(problem.text.splitlines()[1:])
    return fields


def _without_stars(expression: str) -> str:
    return re.sub(r"(\d)\*([a-z])", r"\1\2", expression)
