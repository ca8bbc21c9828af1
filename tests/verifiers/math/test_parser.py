from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.math.lexer import ParseError, tokenize
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.tree import show

CASES = [
    ("3 1/2", "7/2"),
    (r"1\frac{4}{5}", "9/5"),
    (r"11\sqrt2", "*(11, sqrt(2))"),
    (r"\frac12", "/(1, 2)"),
    ("-5^2", "neg(^(5, 2))"),
    ("2^-1", "^(2, -1)"),
    ("1/2x", "*(/(1, 2), x)"),
    ("sin^2 x + cos^2 x", "+(^(sin(x), 2), ^(cos(x), 2))"),
    (r"\sin^{-1} x", "asin(x)"),
    (r"\log_2 8", "log(8, 2)"),
    ("|x-3|<5", "abs(+(x, -3)) < 5"),
    ("x in (-1, 3]", "x ∈ (-1, 3]"),
    ("3x^2y", "*(3, ^(x, 2), y)"),
    ("15\\mbox{ cm}^2", "15 cm^2"),
    ("36 km/h", "36 km h^-1"),
    (r"\text{(B)}", "option B"),
    ("(B) 12", "option B: 12"),
    ("[[1,2],[3,4]]", "matrix(1, 2; 3, 4)"),
    ("['19.0', '-26.01']", "bracket(19, -2601/100)"),
    ("no real solutions", "no solution"),
    ("x<2 or x>3", "union(x < 2, x > 3)"),
]


@pytest.mark.parametrize(("text", "tree"), CASES)
def test_the_likeliest_reading(text: str, tree: str) -> None:
    assert show(parse(text)[0]) == tree


def test_a_comma_between_groups_of_three_has_two_readings() -> None:
    assert [show(node) for node in parse("100,200")] == ["100200", "list(100, 200)"]


def test_a_comma_inside_brackets_separates() -> None:
    assert [show(node) for node in parse("(12,102)")] == ["tuple(12, 102)"]


HOSTILE = [
    ("9" * 5000, LimitError),
    ("{" * 5000, LimitError),
    ("(" * 100 + "1" + ")" * 100, LimitError),
    (r"\frac" * 200 + "1", (ParseError, LimitError)),
    ("x^" * 500 + "2", LimitError),
    ("1+" * 1500 + "1", LimitError),
    ("a" * 4097, LimitError),
    ("factorial(" * 70 + "3" + ")" * 70, LimitError),
    ("5" + "!%" * 400, LimitError),
    ("1" + "/2" * 300, LimitError),
    ("__import__('os').system('x')", ParseError),
    ("os.system", ParseError),
    ("\x00", ParseError),
    (r"\input{/etc/passwd}", ParseError),
    ("", ParseError),
    ("1 2", ParseError),
    ("3 +", ParseError),
]


@pytest.mark.parametrize(("text", "error"), HOSTILE, ids=[text[:30] for text, _ in HOSTILE])
def test_hostile_text_is_refused(text: str, error: type[Exception] | tuple[type[Exception], ...]) -> None:
    with pytest.raises(error):
        parse(text)


FRAGMENTS = [
    *(
        r"\frac",
        r"\sqrt",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "<",
        r"\le",
        "^",
        "_",
        "!",
        "%",
        "°",
        "±",
        "|",
        "12",
        "0.5",
    ),
    *(
        r"\left",
        r"\right",
        r"\text{",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        "&",
        r"\\",
        "1e9",
        "x",
        "y",
        "i",
        "e",
        "pi",
        "log",
    ),
    *(
        "sin",
        r"\cup",
        "or",
        "and",
        r"\{",
        r"\}",
        "$",
        r"\$",
        "/",
        "*",
        "-",
        "+",
        "mod",
        r"\binom",
        "gcd(",
        "cm",
        " ",
        "∞",
        "²",
    ),
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join) | st.text(max_size=60))
def test_parsing_ends_in_a_tree_or_a_named_fault(text: str) -> None:
    try:
        trees = parse(text)
    except (ParseError, LimitError) as fault:
        assert str(fault)
    else:
        assert trees
        assert all(show(tree) for tree in trees)


@given(st.text(alphabet="0123456789,. ", max_size=30))
def test_numbers_have_no_surprises(text: str) -> None:
    try:
        tokens = tokenize(text)
    except (ParseError, LimitError):
        return
    assert all(token.value is not None for token in tokens if token.text.isdigit())


@pytest.mark.parametrize(
    "text",
    [
        r"\sqrt" * 398,
        r"\sqrt" * 398 + "2",
        r"\frac" * 663 + "1",
        r"\binom" * 500,
        r"\log_" * 500 + "2",
        "-" * 3000 + "x",
        "sqrt " * 600 + "2",
        "sin " * 800 + "x",
        "2^" + "-" * 3000 + "2",
        r"1\frac" * 500,
        "√" * 2000 + "2",
        "all reals except " + "sqrt " * 600 + "2",
    ],
    ids=lambda text: text[:12],
)
def test_chains_of_prefixes_meet_a_limit_before_the_stack_does(text: str) -> None:
    with pytest.raises(LimitError) as caught:
        parse(text)
    assert not isinstance(caught.value.__cause__, RecursionError)
