"""Answers that look like a right one and are not, and other spellings of a right one, made from the right one itself.

Each is made by changing the text, so that the reader of answers is tested together with the comparison. A change that
may leave the value as it was (a sign before 0, a digit in a power of 1) is not made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

_DIGITS = re.compile(r"(?<![\d.])\d+(?![\d.]|_)")
_NUMBER = re.compile(r"-?\d+")
_DECIMAL = re.compile(r"-?\d+\.\d+")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+")
_FRACTION = re.compile(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}")
_PAIR = re.compile(r"(?:\\left)?([(\[])(?P<first>[^(),\[\]]+),(?P<second>[^(),\[\]]+)(?:\\right)?([)\]])")
_OPTION = re.compile(r"(?:\\text\{)?\(?([A-E])\)?\}?")
_UNIT = re.compile(r"\\?\b(cm|km|m|kg|g|inches|feet|dollars|cents|hours|minutes|degrees)\b")
_WORDS = re.compile(r"[A-Za-z ]+|\\text\{[A-Za-z ]+\}")
_SWAPS = (
    *((" + ", " - "), ("+", "-"), (r"\cdot", "+"), (r"\times", "+"), ("^2", "^3"), ("^{2}", "^{3}")),
    *((r"\sqrt{", r"2\sqrt{"), (r"\pi", "e"), (r"\sin", r"\cos"), (r"\cos", r"\sin"), (r"\ln", r"\tan")),
    *((r"\le ", "<"), (r"\leq", "<"), ("<", ">"), (r"\ge ", ">"), (r"\geq", ">"), (r"\cup", r"\cap")),
    *((r"\infty", "100"), ("=", r"\neq "), (r"\text{ and }", r"\text{ or }"), (r"\circ", "2"), (r"\%", "")),
    *((r"\binom", r"\frac"), ("!", ""), (r"\{", "("), (r"\angle", r"\triangle"), ("i", "")),
)


def near_misses(gold: str) -> Iterator[tuple[str, str]]:
    """Kinds of change and wrong answers that each makes of a right one."""
    text = gold.strip()
    seen = {text}
    for kind, changed in _changes(text):
        if changed not in seen and changed.strip():
            seen.add(changed)
            yield kind, changed


def _changes(text: str) -> Iterator[tuple[str, str]]:
    plain = _NUMBER.fullmatch(text) or _DECIMAL.fullmatch(text) or _FRACTION.fullmatch(text)
    zero = re.fullmatch(r"-?0+(\.0+)?", text) is not None
    if plain and not zero:
        yield "sign", text[1:] if text.startswith("-") else f"-{text}"
    if plain:
        yield from _number_changes(text, zero)
    yield from _digit_changes(text)
    yield from _pair_changes(text)
    if option := _OPTION.fullmatch(text):
        yield "option", text.replace(option[1], chr((ord(option[1]) - 64) % 5 + 65))
    elif _WORDS.fullmatch(text) and len(text) > 1:
        yield from (("word", f"not {text}"), ("word", text.replace("}", "") + "less" + "}" * text.count("}")))
    if not option:
        yield from _swaps(text)
    if unit := _UNIT.search(text):
        for other in ("cm", "kg", "hours"):
            if other != unit[1]:
                yield "unit", text.replace(unit[1], other, 1)
    if _GROUPED.fullmatch(text):
        yield "thousands", text.replace(",", ", ")
        yield "thousands", rf"\{{{text.replace(',', ', ')}\}}"
        yield "thousands", text.replace(",", ".", 1)
    items = text.split(",")
    if len(items) > 1 and all(item.strip() for item in items) and not re.search(r"\d,\d{3}\b|[{}()\[\]\\]", text):
        yield "element missing", ",".join(items[:-1])
        yield "element added", f"{text}, 98765"


def _number_changes(text: str, zero: bool) -> Iterator[tuple[str, str]]:
    yield from (("operator", f"{text} + 1"), ("operator", f"{text} - 1"), ("element", f"{text}, 98765"))
    yield from (("bracket", f"({text}, 98765)"), ("quantifier", rf"x > {text}"), ("quantifier", rf"x \ne {text}"))
    yield from (
        ("modulus", rf"{text} \pmod{{7}}"),
        ("set", rf"\{{\{{{text}\}}, 1\}}"),
        ("interval", f"[{text}, 98765]"),
    )
    yield from (("word", f"not {text}"), ("word", f"{text} is wrong"), ("word", f"{text} or 98765"))
    yield from (("unit", f"{text} cm"), ("unit", rf"{text} \text{{ apples}}"), ("unit", rf"\${text}"))
    if not zero:
        yield from (("percent", rf"{text}\%"), ("operator", rf"2 \cdot {text}"), ("operator", rf"\frac{{{text}}}{{2}}"))
        yield from (("operator", f"({text})^{{-3}} + 7"), ("imaginary", f"{text}i"), ("variable", f"{text}x"))
        yield from (("degrees", rf"{text}^\circ"), ("decimal", rf"{text} \cdot 10"), ("small", rf"{text} + 10^{{-9}}"))
        yield from (("small", rf"{text} - 10^{{-30}}"), ("small", rf"{text}(1 + 10^{{-12}})"))


def _digit_changes(text: str) -> Iterator[tuple[str, str]]:
    runs = [
        run for run in _DIGITS.finditer(text) if not text[: run.start()].rstrip("{ ").endswith(("_", r"\pmod", "1^"))
    ]
    for run in runs[:6]:
        digits, start, end = run.group(), run.start(), run.end()
        for place in range(min(len(digits), 4)):
            bumped = str((int(digits[place]) + 1) % 10)
            yield "digit", text[:start] + digits[:place] + bumped + digits[place + 1 :] + text[end:]
        if int(digits):
            yield "digit", text[:start] + digits + "0" + text[end:]
        yield "digit", text[:start] + "1" + digits + text[end:]
        for place in range(min(len(digits) - 1, 4)):
            if digits[place] != digits[place + 1]:
                swapped = digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
                yield "order of digits", text[:start] + swapped + text[end:]


def _pair_changes(text: str) -> Iterator[tuple[str, str]]:
    pair = _PAIR.fullmatch(text)
    if pair is None:
        return
    opening, closing = pair[1], pair[4]
    first, second = pair["first"].strip(), pair["second"].strip()
    for left, right in (("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"), (r"\{", r"\}")):
        infinite = (r"\infty" in first and left != "(") or (r"\infty" in second and right != ")")
        if (left, right) != (opening, closing) and not infinite:
            yield "bracket", f"{left}{first}, {second}{right}"
    if first != second:
        yield "order", f"{opening}{second}, {first}{closing}"
    yield from (
        ("element missing", f"{opening}{first}{closing}"),
        ("element added", f"{opening}{first}, {second}, 1{closing}"),
    )
    if r"\infty" not in text:
        yield "domain", rf"x \in {opening}{first}, {second}{closing}, x \in \mathbb{{Z}}"


def _swaps(text: str) -> Iterator[tuple[str, str]]:
    for old, new in _SWAPS:
        if old in text and not (old in ("i", "e") and re.search(r"[A-Za-z]{2}|\\", text)):
            yield "operator", text.replace(old, new, 1)


def rewritings(gold: str) -> Iterator[str]:
    """Other spellings of an answer."""
    text = gold.strip()
    spellings = [f"${text}$", rf"\boxed{{{text}}}", f"  {text} ", rf"\displaystyle {text}", rf"\[ {text} \]"]
    if r"\frac" in text:
        spellings += [text.replace(r"\frac", r"\dfrac"), text.replace(r"\frac", r"\tfrac")]
    if "(" in text and r"\left" not in text and text.count("(") == text.count(")"):
        spellings.append(text.replace("(", r"\left(").replace(")", r"\right)"))
    if r"\left" in text and r"\left." not in text:
        spellings.append(text.replace(r"\left", "").replace(r"\right", ""))
    if _NUMBER.fullmatch(text):
        value = int(text)
        spellings += [f"{value:,}", f"{value}.0", f"{value}.", rf"\frac{{{2 * value}}}{{2}}", f"{value - 3} + 3"]
        spellings += [
            f"x = {value}",
            rf"\text{{{value}}}",
            f"{value}/1",
            rf"\sqrt{{{value * value}}}" if value >= 0 else text,
        ]
    elif _DECIMAL.fullmatch(text):
        exact = Fraction(text)
        spellings += [f"{text}0", rf"\frac{{{exact.numerator}}}{{{exact.denominator}}}", f"x = {text}"]
    elif fraction := _FRACTION.fullmatch(text):
        sign, over, under = fraction[1], int(fraction[2]), int(fraction[3])
        spellings += [f"{sign}{over}/{under}", rf"{sign}\frac{{{3 * over}}}{{{3 * under}}}", f"x = {text}"]
    elif _GROUPED.fullmatch(text):
        spellings += [text.replace(",", ""), text.replace(",", "{,}"), text.replace(",", r"\,")]
    elif re.fullmatch(r"[-\d, ]+", text) and "," in text:
        items = [item.strip() for item in text.split(",")]
        spellings += [", ".join(reversed(items)), rf"\{{{', '.join(items)}\}}"]
    yield from dict.fromkeys(spelling for spelling in spellings if spelling != gold)
