# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Characters to tokens, one grammar for LaTeX and plain text. Nothing is looked up or evaluated; linear time."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from espalier.verifiers.math.limits import LIMITS, LimitError, check_text
from espalier.verifiers.math.words import (
    CHARACTERS,
    COLOURED,
    COMMANDS,
    DROPPED,
    FUNCTIONS,
    GREEK,
    GREEK_LETTERS,
    NEGATED,
    SPACING,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    TEXT_COMMANDS,
    VARIANTS,
    VULGAR,
)


class Kind(Enum):
    """Kinds of token."""

    NUMBER = "number"
    WORD = "word"
    COMMAND = "command"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: What it is.
        text: As it is called in the grammar: digits without separators, a word, a command with its backslash.
        value: Of a number.
        spaced: White space stood before it.
        roman: It stood in upright text (`\\text{…}`).
        commas: The number was written with commas between groups of three digits that could separate a list: none of
        the groups begins with 0, as in "100,200".
    """

    kind: Kind
    text: str
    value: Fraction | None = None
    spaced: bool = False
    roman: bool = False
    commas: bool = False


class ParseError(ValueError):
    """The text is no answer that the grammar knows."""


_GROUPED = re.compile(
    r"\d{1,3}(?:(?:,\\!\s?|\\,|\s?\{,\s?\}|\\ |[ \u00a0\u2009\u202f'](?=\d{3})|,)\d{3})+(?![\d])(?!\s*/)(\.\d+)?"
)
_REPEATING = re.compile(
    r"(?P<whole>\d*)\.(?P<head>\d*)(?:\\(?:overline|bar)\s*(?:\{\s*(?P<line>\d+)\s*\}|(?P<digit>\d))|\((?P<round>\d+)\)"
    r"|\\dot\s*\{?(?P<first>\d)\}?(?:(?P<middle>\d*)\\dot\s*\{?(?P<last>\d)\}?)?)(?![\d.])"
)
_DOTS = r"\s*(?:\.\.+|…|\\(?:ldots|dots|cdots)\b)"
_GOES_ON = re.compile(rf"\d*\.\d+{_DOTS}")
_PERIOD_WRITTEN_OUT = re.compile(
    rf"(?P<whole>\d*)\.(?P<head>\d{{0,12}}?)(?P<period>\d{{1,12}}?)(?P=period){{2,}}{_DOTS}"
)
_GROUP = re.compile(r"\s*\{[^{}]*\}")
_BOLD = re.compile(r"\s*\{\s*([A-Za-z])\s*\}|\s+([A-Za-z])(?![A-Za-z])")
_KINDS = "RZNQC"
_PERIODS = ("line", "digit", "round", "period", "first", "middle", "last")
_PLAIN = re.compile(r"(?:\d+\.\d+|\d+\.(?![\d.])|\d+|\.\d+)(?:[eE][+-]?\d{1,4}(?![\w.]))?")
_PREFIXED = re.compile(r"0x[0-9a-fA-F]+|0b[01]+|0o[0-7]+")
_WORD = re.compile(r"[A-Za-z]+")
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_OPERATOR = re.compile(r"\*\*|<=|>=|!=|==|=|<|>|[-+*/^_!%(){}\[\],;:|&]|:=")
_QUOTED = re.compile(r"[\[(,]\s*'|^'|^‘|^“")
_REALS = re.compile(r"\s*(\{\s*R\s*\}|R\b)")
_SPACE = re.compile(r"[\s~\u00a0\u2009\u202f\u200b]+")
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([a-zA-Z]+)\*?\}(\s*\{[lcr| ]*\})?")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_BRACKETS = {"(": ")", "[": "]", "{s": "}s", "⟨": "⟩"}


def _may_be_list(written: str) -> bool:
    """Whether digits between commas may also be the elements of a list: no element begins with 0, as in "1,000"."""
    return re.search(r"\d,\d", written) is not None and ",0" not in written


def tokenize(text: str, *, split_commas: bool = False) -> list[Token]:
    """Read the tokens of an answer.

    Args:
        text: The answer, LaTeX or plain text.
        split_commas: Read "100,200" as two numbers, not as one hundred thousand two hundred.

    Raises:
        LimitError: It goes beyond the static limits.
        ParseError: It holds a character outside of the grammar.
    """
    check_text(text)
    return _Lexer(text, split_commas).run()


class _Lexer:
    """A cursor over the text; `depth` counts the open brackets in which a comma separates."""

    def __init__(self, text: str, split_commas: bool) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.split_commas = split_commas
        self.tokens: list[Token] = []
        self.spaced = False
        self.roman_until: list[int] = []
        self.quoted = _QUOTED.search(text) is not None
        self.dollars = text.replace(r"\$", "").count("$")

    def run(self) -> list[Token]:
        while self.at < len(self.text):
            if self.roman_until and self.at >= self.roman_until[-1]:
                self.roman_until.pop()
                self.at += 1
                self.spaced = False
                continue
            if len(self.tokens) > 2 * LIMITS.nodes:
                raise LimitError(f"more than {2 * LIMITS.nodes} tokens")
            self._step()
        return self.tokens

    def _emit(self, kind: Kind, text: str, value: Fraction | None = None, commas: bool = False) -> None:
        token = Token(kind, text, value, self.spaced, bool(self.roman_until), commas)
        self.tokens.append(token)
        self.spaced = False

    def _operator(self, text: str) -> None:
        if text in _BRACKETS:
            self.depth += 1
        elif text in _BRACKETS.values():
            self.depth = max(0, self.depth - 1)
        self._emit(Kind.OPERATOR, text)

    def _named(self, name: str) -> None:
        """Emit what a table calls `name`: an operator sign, a word, or a command."""
        if name.startswith("\\"):
            self._emit(Kind.COMMAND, name)
        elif name.isalpha() and name.isascii():
            self._emit(Kind.WORD, name)
        else:
            self._operator(name)

    def _step(self) -> None:
        text, at = self.text, self.at
        if space := _SPACE.match(text, at):
            self.at, self.spaced = space.end(), True
            return
        character = text[at]
        if (
            (character.isdigit() and character.isascii())
            or (character == "." and text[at + 1 : at + 2].isdigit())
            or text.startswith((".\\overline", ".\\bar", ".\\dot", ".("), at)
        ):
            self._number()
        elif word := _WORD.match(text, at):
            self.at = word.end()
            self._emit(Kind.WORD, word.group())
        elif character == "\\":
            self._command()
        elif character == "$":
            self._dollar()
        elif character in "'’′″\"" and not self.quoted and at and text[at - 1].isdigit():
            self._prime_of_number()
        elif character in "'’′″" and not self.quoted and at and (text[at - 1].isalpha() or text[at - 1] in ")}'′°"):
            self.at += 1
            for _ in range(2 if character == "″" else 1):
                self._operator("′")
        elif character in "'\"`’‘“”′″":
            self.at += 1
        elif operator := _OPERATOR.match(text, at):
            self.at = operator.end()
            self._operator({"**": "^", "==": "=", ":=": "="}.get(operator.group(), operator.group()))
        elif character in CHARACTERS:
            self.at += 1
            self._named(CHARACTERS[character])
        elif character in "∪∩∈∉⊂⊆⊊⊄⊈⊃⊇⊋⊅⊉∅±∓°≈≡⟨⟩⌊⌋⌈⌉∖⇒∥⟂≅∼‰":
            self.at += 1
            self._operator(character)
        elif character in "€£¢":
            self.at += 1
            self._emit(Kind.WORD, character)
        elif character in GREEK_LETTERS:
            self.at += 1
            self._emit(Kind.COMMAND, GREEK_LETTERS[character])
        elif character in VULGAR:
            self.at += 1
            self._emit(Kind.NUMBER, "½", Fraction(*VULGAR[character]))
        elif character in "∀∃∄¬":
            self.at += 1
            self._emit(Kind.COMMAND, ("\\forall", "\\exists", "\\nexists", "\\neg")["∀∃∄¬".index(character)])
        elif character == "ℝ":
            self.at += 1
            self._emit(Kind.WORD, "reals")
        elif character in "ℤℕℚℂ":
            self.at += 1
            self._emit(Kind.WORD, "ZNQC"["ℤℕℚℂ".index(character)])
        elif character in "△∠⊙□":
            self.at += 1
            self._emit(Kind.COMMAND, ("\\triangle", "\\angle", "\\odot", "\\square")["△∠⊙□".index(character)])
        elif power := _SUPERSCRIPT.match(text, at):
            self._script("^", power.group().translate(SUPERSCRIPTS), power.end())
        elif index := _SUBSCRIPT.match(text, at):
            self._script("_", index.group().translate(SUBSCRIPTS), index.end())
        elif character == ".":
            if text[at + 1 :].strip(" \n$"):
                if text.startswith("...", at):
                    self.at += 3
                    self._operator("…")
                    return
                raise ParseError(f"a {character!r} inside the answer at {at}")
            self.at += 1
        else:
            raise ParseError(f"unknown character {character!r} at {at}")

    def _script(self, operator: str, digits: str, end: int) -> None:
        self.at = end
        self._operator(operator)
        self._operator("{")
        for sign in "-+":
            if digits.startswith(sign):
                self._operator(sign)
                digits = digits[1:]
        if not digits.isdigit():
            raise ParseError("a malformed superscript")
        self._emit(Kind.NUMBER, digits, Fraction(int(digits)))
        self._operator("}")

    def _number(self) -> None:
        text, at = self.text, self.at
        if prefixed := _PREFIXED.match(text, at):
            self.at = prefixed.end()
            self._emit(Kind.NUMBER, prefixed.group(), Fraction(int(prefixed.group(), 0)))
            return
        if repeating := _REPEATING.match(text, at):
            self._repeating(repeating)
            return
        if _GOES_ON.match(text, at):
            if period := _PERIOD_WRITTEN_OUT.match(text, at):
                self._repeating(period)
                return
            if not self.depth:
                raise ParseError("a decimal that goes on")
        grouped = _GROUPED.match(text, at)
        if grouped and self._joins(grouped.group()):
            self.at = grouped.end()
            digits = re.sub(r"[^\d.]", "", grouped.group())
            self._emit(Kind.NUMBER, digits, Fraction(digits), commas=_may_be_list(grouped.group()))
            return
        plain = _PLAIN.match(text, at)
        if plain is None:
            raise ParseError(f"a malformed number at {at}")
        self.at = plain.end()
        written = plain.group().rstrip(".") or "0"
        self._emit(Kind.NUMBER, written, Fraction(written))

    def _repeating(self, match: re.Match[str]) -> None:
        """0.1(6), 0.1\\overline{6}, 0.1\\dot6, 0.\\dot16\\dot2, and 0.1666… with its period written out three times."""
        part = match.groupdict(default="")
        period = "".join(part[name] for name in _PERIODS if name in part)
        self.at = match.end()
        scale = 10 ** len(part["head"])
        tail = Fraction(int(period), (10 ** len(period) - 1) * scale)
        self._emit(Kind.NUMBER, "½", Fraction(int(part["whole"] + part["head"] or "0"), scale) + tail)

    def _joins(self, written: str) -> bool:
        """Whether separated groups of digits are one number: never by a bare comma where commas separate."""
        if written.startswith("0"):
            if ",0" in written:
                raise ParseError("a decimal comma, or a list with leading zeros")
            return False
        if _may_be_list(written):
            return self.depth == 0 and not self.split_commas
        if re.search(r"\d'\d", written):
            return self.depth == 0
        return True

    def _prime_of_number(self) -> None:
        """5' and 5\": minutes and seconds of arc, or feet and inches."""
        character = self.text[self.at]
        self.at += 1
        doubled = character in "'’′" and self.text[self.at : self.at + 1] == character
        self.at += doubled
        self._operator("″" if doubled or character in '″"' else "′")

    def _dollar(self) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 1
        if self.dollars % 2 == 1 and (following.isdigit() or following == "."):
            self.dollars -= 1
            self._emit(Kind.WORD, "$")
        else:
            self.spaced = True

    def _command(self) -> None:
        text, at = self.text, self.at
        if environment := _ENVIRONMENT.match(text, at):
            self.at = environment.end()
            self._emit(Kind.COMMAND, f"\\{environment.group(1)}:{environment.group(2)}")
            self.depth += 1 if environment.group(1) == "begin" else -1
            return
        command = _COMMAND.match(text, at)
        if command is None:
            self._escaped(text[at + 1 : at + 2])
            return
        name = command.group(1)
        self.at = command.end()
        if name.startswith(("quad", "qquad")) and name not in SPACING:
            self.at = command.start(1) + (5 if name.startswith("qquad") else 4)
            self.spaced = True
        elif name in DROPPED or name in COLOURED:
            group = _GROUP.match(text, self.at)
            self.at = group.end() if group else self.at
            self.spaced = True
        elif name in ("mathbf", "boldsymbol", "bm") and (bold := _BOLD.match(text, self.at)):
            letter = bold.group(1) or bold.group(2)
            self.at = bold.end()
            if letter not in _KINDS:
                self._emit(Kind.COMMAND, r"\bold")
            self._emit(Kind.WORD, "reals" if letter == "R" else letter)
        elif name in SPACING:
            if name in ("left", "right") and text[self.at : self.at + 1] == ".":
                self.at += 1
            self.spaced = self.spaced or not name.lower().startswith(("left", "right", "big"))
        elif name == "mathbb" and (reals := _REALS.match(text, self.at)):
            self.at = reals.end()
            self._emit(Kind.WORD, "reals")
        elif name in TEXT_COMMANDS:
            self._roman()
        elif name in COMMANDS:
            self._named(COMMANDS[name])
        elif name == "not":
            self._negated()
        elif name == "prime":
            self._operator("′")
        elif name in ("lvert", "rvert", "lVert", "rVert"):
            self._operator("|")
        elif name in GREEK or name in FUNCTIONS:
            self._emit(Kind.COMMAND, VARIANTS.get(name, name))
        elif name == "pi":
            self._emit(Kind.WORD, "pi")
        elif name in ("dollar", "textdollar"):
            self._emit(Kind.WORD, "$")
        else:
            self._emit(Kind.COMMAND, "\\" + name)

    def _escaped(self, character: str) -> None:
        self.at += 2
        if character in ",;:! >":
            self.spaced = True
        elif character == "\\":
            self._emit(Kind.OPERATOR, "\\\\")
        elif character in "{}":
            self._operator(character + "s")
        elif character in "%&#_":
            self._operator(character)
        elif character == "$":
            self._emit(Kind.WORD, "$")
        elif character == "|":
            self._operator("|")
        elif character in "()[]":  # \( … \) and \[ … \] delimit mathematics
            self.spaced = True
        else:
            raise ParseError(f"unknown command \\{character}")

    def _negated(self) -> None:
        """What `\\not` stands before."""
        before = len(self.tokens)
        while len(self.tokens) == before and self.at < len(self.text):
            self._step()
        if len(self.tokens) == before or self.tokens[-1].text not in NEGATED:
            raise ParseError(r"\not before something else than a relation")
        self.tokens[-1] = replace(self.tokens[-1], text=NEGATED[self.tokens[-1].text])

    def _roman(self) -> None:
        """Enter the group of a `\\text{…}`; its braces are no tokens."""
        space = _SPACE.match(self.text, self.at)
        start = space.end() if space else self.at
        if not self.text.startswith("{", start):
            return
        depth = 0
        for end in range(start, len(self.text)):
            depth += {"{": 1, "}": -1}.get(self.text[end], 0)
            if depth == 0:
                self.at = start + 1
                self.roman_until.append(end)
                self.spaced = True
                return
        raise ParseError("an unclosed brace")
