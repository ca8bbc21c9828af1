# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""The vocabulary of answers: commands, functions, names of letters, and words that stand for a value."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SPACING = _names(
    """
    left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle quad qquad displaystyle
    textstyle scriptstyle limits nolimits thinspace enspace nobreak allowbreak mathstrut
    strut hfill bf rm it sf tt large Large boldmath therefore because
    """
)

TEXT_COMMANDS = _names(
    """
    text mbox textbf textit textrm textnormal textsf texttt mathrm mathbf mathit mathsf mathtt operatorname hbox
    boldsymbol bm mathbb mathcal mathfrak underline emph ensuremath boxed fbox
    """
)

DROPPED = _names("hspace vspace phantom hphantom vphantom color label tag kern mkern rule")
"""Commands that show nothing: they go with the group behind them."""

COLOURED = _names("textcolor colorbox")
"""Commands whose first group is a colour and whose second is shown."""

SHAPES = _names("triangle angle measuredangle sphericalangle odot square parallelogram Box arc")
"""Signs before the letters of a figure."""

# LaTeX command → token text.
COMMANDS: dict[str, str] = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), r"\frac"),
    **dict.fromkeys(("ast", "star"), "*"),
    **dict.fromkeys(("cdot", "bullet", "cdotp"), "·"),
    "times": "×",
    **dict.fromkeys(("div",), "/"),
    **dict.fromkeys(("le", "leq", "leqslant", "leqq"), "<="),
    **dict.fromkeys(("ge", "geq", "geqslant", "geqq"), ">="),
    **dict.fromkeys(("lt",), "<"),
    **dict.fromkeys(("gt",), ">"),
    **dict.fromkeys(("ne", "neq"), "!="),
    **dict.fromkeys(("approx", "simeq", "thickapprox", "doteq"), "≈"),
    **dict.fromkeys(("equiv",), "≡"),
    **dict.fromkeys(("in",), "∈"),
    **{"notin": "∉", "lnot": r"\neg"},
    **{"subset": "⊂", "supset": "⊃", "nsubseteq": "⊈", "nsupseteq": "⊉"},
    **dict.fromkeys(("subseteq", "subseteqq"), "⊆"),
    **dict.fromkeys(("supseteq", "supseteqq"), "⊇"),
    **dict.fromkeys(("subsetneq", "subsetneqq", "varsubsetneq"), "⊊"),
    **dict.fromkeys(("supsetneq", "supsetneqq", "varsupsetneq"), "⊋"),
    **dict.fromkeys(("pm",), "±"),
    **dict.fromkeys(("mp",), "∓"),
    **dict.fromkeys(("cup", "bigcup"), "∪"),
    **dict.fromkeys(("cap", "bigcap"), "∩"),
    **dict.fromkeys(("setminus", "backslash"), "∖"),
    **dict.fromkeys(("emptyset", "varnothing"), "∅"),
    **dict.fromkeys(("lbrace",), "{s"),
    **dict.fromkeys(("rbrace",), "}s"),
    **dict.fromkeys(("langle",), "⟨"),
    **dict.fromkeys(("rangle",), "⟩"),
    **dict.fromkeys(("lfloor",), "⌊"),
    **dict.fromkeys(("rfloor",), "⌋"),
    **dict.fromkeys(("lceil",), "⌈"),
    **dict.fromkeys(("rceil",), "⌉"),
    **dict.fromkeys(("lbrack",), "["),
    **dict.fromkeys(("rbrack",), "]"),
    **dict.fromkeys(("lparen",), "("),
    **dict.fromkeys(("rparen",), ")"),
    **dict.fromkeys(("mid", "vert", "lvert", "rvert", "|", "Vert", "lVert", "rVert"), "|"),
    **dict.fromkeys(("circ", "degree"), "°"),
    **dict.fromkeys(("permil", "perthousand", "textperthousand"), "‰"),
    **{"imath": "i", "jmath": "j"},
    **dict.fromkeys(("colon",), ":"),
    **dict.fromkeys(("implies", "Rightarrow", "rightarrow", "to", "iff"), "⇒"),
    **dict.fromkeys(("lor", "vee"), "or"),
    **dict.fromkeys(("land", "wedge"), "and"),
    **dict.fromkeys(("infty",), "oo"),
    **dict.fromkeys(("binom", "dbinom", "tbinom"), r"\binom"),
    **dict.fromkeys(("ldots", "dots", "cdots", "dotsc", "dotsb"), "…"),
    **dict.fromkeys(("bmod", "mod"), "mod"),
    **dict.fromkeys(("pmod", "pod"), "pmod"),
    **dict.fromkeys(("sim",), "∼"),
    **dict.fromkeys(("cong",), "≅"),
    **dict.fromkeys(("parallel",), "∥"),
    **dict.fromkeys(("perp",), "⟂"),
}

NEGATED = {"∈": "∉", "=": "!=", "⊆": "⊈", "⊂": "⊄", "⊇": "⊉", "⊃": "⊅"}
"""What `\\not` makes of a sign."""

# One character → token text.
CHARACTERS: dict[str, str] = {
    "×": "×", "·": "·", "⋅": "·", "∙": "·", "•": "·", "∗": "*", "÷": "/", "∕": "/", "⁄": "/",
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "＋": "+", "＝": "=",
    "≤": "<=", "⩽": "<=", "≦": "<=", "≥": ">=", "⩾": ">=", "≧": ">=", "≠": "!=", "≃": "≈",
    "∞": "oo", "π": "pi", "∖": "∖", "º": "°", "˚": "°", "√": "sqrt", "…": "…",
    "→": "⇒", "⟹": "⇒", "⇔": "⇒", "∧": "and", "∨": "or", "（": "(", "）": ")", "，": ",", "：": ":",
    "［": "[", "］": "]", "〈": "⟨", "〉": "⟩",
}  # fmt: skip

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip

GREEK = _names(
    """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron rho
    varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi
    Psi Omega ell hbar
    """
)
VARIANTS = {"varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma", "varphi": "phi"}
"""Letters in another shape."""
GREEK_LETTERS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi",
    "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Δ": "Delta", "Ω": "Omega", "Σ": "Sigma", "ℓ": "ell",
}  # fmt: skip

# Name as written → head of an Apply node with one argument.
FUNCTIONS: dict[str, str] = {
    name: name
    for name in (
        *("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "exp", "abs", "floor", "ceil"),
        *("factorial", "gamma", "sgn", "conj", "re", "im", "arg", "cis", "det"),
    )
} | {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "asin": "asin", "acos": "acos", "atan": "atan",
    "arcsinh": "asinh", "asinh": "asinh", "arccosh": "acosh", "acosh": "acosh", "arctanh": "atanh", "atanh": "atanh",
    "arccot": "acot", "acot": "acot", "arcsec": "asec", "asec": "asec", "arccsc": "acsc", "acsc": "acsc",
    "ln": "ln", "log": "log", "lg": "log10", "cosec": "csc", "sqrt": "sqrt", "cbrt": "cbrt", "tg": "tan", "ctg": "cot",
    "ceiling": "ceil", "Re": "re", "Im": "im", "sign": "sgn", "Gamma": "gamma",
}  # fmt: skip
INVERSES = {
    "sin": "asin", "cos": "acos", "tan": "atan", "cot": "acot", "sec": "asec", "csc": "acsc",
    "sinh": "asinh", "cosh": "acosh", "tanh": "atanh",
}  # fmt: skip
MANY_ARGUMENTS: dict[str, str] = {
    "gcd": "gcd", "lcm": "lcm", "max": "max", "min": "min", "binom": "binomial", "binomial": "binomial",
    "comb": "binomial", "choose": "binomial", "pow": "^", "mod": "mod", "root": "root", "GCD": "gcd", "LCM": "lcm",
}  # fmt: skip

EMPTY = frozenset(
    {
        "no solution", "no solutions", "no real solution", "no real solutions", "empty set", "the empty set", "none",
        "there is no solution", "there are no solutions", "there are no real solutions", "there is no real solution",
        "no such x", "no root", "no roots", "no real root", "no real roots", "there are no real roots", "null set",
        "no value", "no values", "no solution exists", "no solutions exist", "no integer solutions",
        "no integer solution", "inconsistent", "impossible",
    }
)  # fmt: skip

# Phrases with one meaning → the form that is compared.
PHRASES: dict[str, str] = {
    **dict.fromkeys(("dne", "does not exist", "do not exist", "undefined", "not defined"), "undefined"),
    **dict.fromkeys(("all real numbers", "all reals", "reals", "all real number", "real numbers"), "reals"),
    **dict.fromkeys(("infinitely many", "infinitely many solutions", "infinite solutions"), "infinitely many"),
    **dict.fromkeys(("true", "yes"), "yes"),
    **dict.fromkeys(("false", "no"), "no"),
}

EXCEPTIONS = frozenset({"except", "excluding"})

SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_COUNTED = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
)
NUMERALS = {word: value for value, word in enumerate(_COUNTED)}
