"""Examples that the text of a programming problem states, read without a model. Nothing of them is evaluated here.

Read are assert statements, doctests, calls with their values (`f(2) == 4`, `f(2) ➞ 4`, "f(2) returns 4", "f(-1) raises
ValueError"), named arguments with a result ("For n = 3 the output should be 6"), blocks of input and output that call
the function, and samples of standard input and output. What is not sure to be an example is left out.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from espalier.verifiers.check import AssertCase, StdioCase
from espalier.verifiers.generated_tests import assertions

MAX_TEXT = 20_000
"""Characters of a problem that are read."""

MAX_EXAMPLES = 50
MAX_FUNCTIONS = 50
MAX_CALLS = 200
"""Calls in a text that are looked at."""

MAX_SOURCE = 1000
"""Characters of a call, a value or an assert statement."""

MAX_CASE = 4000
"""Characters of an example with what prepares it."""

MAX_SAMPLE = 5000
"""Characters of a sample of standard input or output."""

TOLERANCE = 1e-6
"""Of a number with a fraction, absolute below 1 and relative above."""


@dataclass(frozen=True, slots=True)
class StatedExample:
    """One example.

    Attributes:
        text: As a person reads it: `double(2) == 4`.
        case: What a program is run on.
    """

    text: str
    case: AssertCase | StdioCase


@dataclass(frozen=True, slots=True)
class _Function:
    """A function that the text defines.

    Attributes:
        parameters: Their names, without `self`.
        receiver: What stands before a call: `Solution().` for a method.
        stub: Its body is left to the program.
    """

    parameters: tuple[str, ...] = ()
    receiver: str = ""
    stub: bool = True


_VERBS = (
    r"(?:write|implement|creat\w*|complete|provide|develop|design|define|make|finish|fix|build|need|want|give me|code)"
)
_REQUEST = re.compile(
    rf"\b{_VERBS}\b[^.?!\n]{{0,100}}?\b(?:python\d?|programs?|scripts?|methods? (?:that|to|`)"
    r"|class (?:that|called|named|`)|functions? (?:that|to|which|called|named|for|`|\w{2,}\())"
    r"|\b(?:implement|complete|finish|fix|fill in)\b[^.?!\n]{0,40}?\b(?:function|method|code)\b",
    re.IGNORECASE,
)
_CONTEST = re.compile(
    r"\b(?:standard (?:input|output)|stdin|stdout|test cases?|print (?:a|an|the|one|out|yes|no)\b"
    r"|(?:the|each|single|only) (?:first |second |next )?lines? (?:of|contains?))",
    re.IGNORECASE,
)
_OTHERS = r"(?:C\+\+|C#|Java(?:Script)?|TypeScript|Rust|Go(?:lang)?|Haskell|Kotlin|Scala|Ruby|Perl|PHP|Swift)"
_OTHER_LANGUAGE = re.compile(
    rf"(?<!\w){_OTHERS}(?=\s+(?:program|function|code|script|method|class|solution)\b)"
    rf"|\b(?:in|using) (?:C|{_OTHERS})(?=[\s.,:;!?]|$)"
)
_DEFINITION = re.compile(r"^(?P<indent>[ \t>]*)(?:async[ \t]+)?def[ \t]+(?P<name>\w{1,100})[ \t]*\(", re.MULTILINE)
_CLASS = re.compile(r"^[ \t]*class[ \t]+(\w{1,100})", re.MULTILINE)
_DOCSTRING = re.compile(r'("""|\'\'\').*?(?:\1|\Z)', re.DOTALL)
_STUB_LINE = re.compile(r"^(?:pass|\.\.\.|return|raise NotImplementedError.*|#.*|```.*|\"\"\"|''')?$")
_FENCES = re.compile(r"```\w*|\"\"\"|'''")
"""What may stand behind the last example of a docstring."""

_CALLED = re.compile(r"(?<![\w.])(\w{1,100})\(")
_MARK = re.compile(
    r"`?[ \t]*(?:#[ \t]*)?(?:,[ \t]*)?(?:(?:it|this|which|the (?:function|result|output|answer))[ \t]+)?"
    r"(?:(?:should|must|will|would)[ \t]+)?"
    r"(?:==+>|==+|=+>|-+>|➞|➔|→|⇒|⟶|=|:(?=[ \t])"
    r"|\b(?:(?:return|give|output|produce|yield|be|become|print)s?|equals?|evaluates?[ \t]+to|results?[ \t]+in|is)\b)"
    r"[ \t]*(?:#?[ \t]*returns?\b[ \t]*)?(?:equal[ \t]+to\b[ \t]*)?`?"
)
"""What may stand between a call and its value."""
_RAISES = re.compile(
    r"`?[ \t]*(?:#[ \t]*)?(?:==*>|=>|-+>|➞|→)?[ \t]*(?:should[ \t]+|must[ \t]+)?"
    r"(?:raise|throw)s?[ \t]+(?:an?[ \t]+)?`?(?P<error>[A-Z]\w*(?:Error|Exception))\b"
)
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?j?")
_WORD = re.compile(r"(?:true|false|none|null|nil)(?!\w)|(?:set|frozenset|tuple|list|dict)(?=\()", re.IGNORECASE)
_STRING = re.compile(r"[bBrRuU]{0,2}(?=[\"'])")
_OPERATOR = re.compile(r"[ \t]*(?:[*+/]|-)[ \t]*(?=[\d(.])")
_GOES_ON = re.compile(r"[\w(\[\"'%]|[ \t]*(?:[+*/<>|&^%]|-[ \t]*[\w(]|(?:or|and|if|for|in|not|to)\b[ \t]*[\d(\[\"'])")
"""Behind a text that is read as a value: it goes on, so it is none."""

_GIVEN = re.compile(
    r"\bfor[ \t]+(?P<arguments>\w+[ \t]*=[^\n]{1,1000}?),?[ \t]*"
    r"(?:the[ \t]+)?(?:output|result|answer|function|it)[ \t]+"
    r"(?:should[ \t]+(?:be|return)|must[ \t]+(?:be|return)|will[ \t]+be|is|returns)[ \t]+",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^[\s>#*_=-]*(?:(?P<before>sample|example)s?[ \t]*)?(?P<kind>input|output)s?"
    r"(?:[ \t]+(?P<behind>sample|example)s?)?"
    r"(?:[ \t]*\(?(?:std(?:in|out)|#?\d+)\)?)?[ \t]*(?P<colon>[*_]*:[*_]*)?[ \t*_#=-]*(?P<rest>.*)$",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^[\s>#*_=-]*(?:sample|example)s?(?:[ \t]*#?\d+)?[ \t]*[:*_#=-]*\s*$", re.IGNORECASE)
_END_OF_BLOCK = re.compile(
    r"^[\s>#*_=-]*(?:explanations?|notes?|constraints?|hints?|(?:sample|example)s?\b|test case|scoring|follow[- ]?up"
    r"|problem|limits?)\b",
    re.IGNORECASE,
)
_WORDS = {"true": "True", "false": "False", "null": "None", "none": "None", "nil": "None"}
_CONTAINERS = frozenset({"set", "frozenset", "tuple", "list", "dict"})
_MODULES = frozenset({"cmath", "collections", "datetime", "decimal", "fractions", "itertools", "math", "re", "string"})
"""Modules that an example may use without importing them."""


def read_examples(text: str) -> tuple[StatedExample, ...]:
    """The examples in the text of a problem that asks for a Python program; none where it does not ask for one.

    Calls come in the order of the forms, not of the text. Samples of standard input and output are read where nothing
    is called.
    """
    text = text[:MAX_TEXT].replace("\r\n", "\n")
    functions = _functions(text)
    stubs = {name: one for name, one in functions.items() if one.stub}
    asserted = [*islice(_asserts(text, frozenset(functions)), MAX_EXAMPLES)]
    # An assert statement about a function that the text does not implement asks for that function.
    requested = _REQUEST.search(text) is not None or bool(asserted and (stubs or not functions))
    if _OTHER_LANGUAGE.search(text) or not (requested or stubs or _CONTEST.search(text)):
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that the text has not thought through
        found: dict[str, StatedExample] = {}
        if requested or stubs:
            for one in (*asserted, *_calls(text, functions if requested else stubs)):
                source = _with_imports(one.case.source) if isinstance(one.case, AssertCase) else None
                if source is not None:
                    found.setdefault(source, StatedExample(one.text, AssertCase(source)))
                if len(found) == MAX_EXAMPLES:
                    break
        if not found and not functions:
            found = {one.text: one for one in _samples(text)}
    return tuple(islice(found.values(), MAX_EXAMPLES))


def _calls(text: str, asked: Mapping[str, _Function]) -> Iterator[StatedExample]:
    yield from _doctests(text, asked)
    yield from _equations(text, asked)
    if len(stubs := {name: one for name, one in asked.items() if one.stub} or dict(asked)) == 1:
        ((name, function),) = stubs.items()
        yield from _given(text, name, function)
        yield from _blocks(text, name, function)


# Definitions.


def _functions(text: str) -> dict[str, _Function]:
    found: dict[str, _Function] = {}
    for start in islice(_DEFINITION.finditer(text), MAX_FUNCTIONS):
        end = _balanced(text, start.end() - 1)
        if end is None:
            continue
        name, indent = start["name"], len(start["indent"])
        parameters = _parameters(text[start.end() : end - 1])
        receiver = ""
        if parameters[:1] == ("self",):
            classes = _CLASS.findall(text, 0, start.start())
            parameters, receiver = parameters[1:], f"{classes[-1]}()." if classes else ""
        if not name.startswith("__"):
            found[name] = _Function(parameters, receiver, _is_stub(text[end:], indent))
    return found


def _parameters(text: str) -> tuple[str, ...]:
    try:
        (function,) = ast.parse(f"def f({text}): pass").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    assert isinstance(function, ast.FunctionDef)  # noqa: S101
    return tuple(one.arg for one in (*function.args.posonlyargs, *function.args.args))


def _is_stub(behind: str, indent: int) -> bool:
    """Whether nothing but a docstring and placeholders stands behind the head of a function."""
    body = _DOCSTRING.sub("", behind[behind.find(":") + 1 :], count=1) if ":" in behind else ""
    first, *rest = body.split("\n")
    lines = [first.strip()]
    for line in rest:
        if line.strip() and len(line) - len(line.lstrip(" \t>")) <= indent:
            break
        lines.append(line.strip())
    return all(_STUB_LINE.match(line) for line in lines)


# Forms of calls.


def _asserts(text: str, functions: frozenset[str]) -> Iterator[StatedExample]:
    for source in assertions(text, functions):
        (statement,) = ast.parse(source).body
        assert isinstance(statement, ast.Assert)  # noqa: S101
        match statement.test:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if not _has_walrus(source):
                yield _equality(ast.unparse(left), ast.unparse(right))
            case test:
                yield StatedExample(ast.unparse(test), AssertCase(source))


def _doctests(text: str, asked: Mapping[str, _Function]) -> Iterator[StatedExample]:
    text = _FENCES.sub("", text)
    parser = doctest.DocTestParser()
    try:
        parts = [parser.get_examples(text)]
    except ValueError:
        parts = []
        for part in re.split(r"\n[ \t]*\n", text):
            try:
                parts.append(parser.get_examples(part))
            except ValueError:
                continue
    for part in parts:
        yield from _session([one for one in part if len(one.source) <= MAX_SOURCE][:MAX_CALLS], asked)


def _session(examples: list[doctest.Example], asked: Mapping[str, _Function]) -> Iterator[StatedExample]:
    """The examples of one docstring. What only prepares them runs before each that follows."""
    parsed = [(one, tree) for one in examples if (tree := _statement(one.source)) is not None]
    prepares = any(not isinstance(tree, ast.Expr) for _, tree in parsed)
    before: list[str] = []
    for one, tree in parsed:
        source = ast.unparse(tree)
        if isinstance(tree, ast.Import | ast.ImportFrom):
            if not any(alias.name in asked or alias.name == "*" for alias in tree.names):
                before.append(source)  # the program's own names are there without it
            continue
        if isinstance(tree, ast.Expr) and (found := _expression(one, tree.value, asked)):
            setup = "".join(f"{line}\n" for line in before)
            if len(setup) > MAX_CASE:
                return
            yield StatedExample(setup + found.text, AssertCase(setup + _source(found)))
        if prepares and not one.exc_msg:
            before.append(source)


def _source(example: StatedExample) -> str:
    return example.case.source if isinstance(example.case, AssertCase) else ""


def _statement(
    source: str,
) -> ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Import | ast.ImportFrom | None:
    try:
        body = ast.parse(source.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    kinds = ast.Expr | ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Import | ast.ImportFrom
    return body[0] if len(body) == 1 and isinstance(body[0], kinds) else None


def _expression(example: doctest.Example, tree: ast.expr, asked: Mapping[str, _Function]) -> StatedExample | None:
    """One prompt of a docstring that judges something; None where it judges nothing."""
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - vars(builtins).keys()
    if not called or _has_walrus(example.source):
        return None
    source = _with_receiver(tree, asked)
    want = example.want.strip()
    if example.exc_msg:
        return _raising(source, example.exc_msg.split(":")[0].strip().split(".")[-1])
    if not want:
        match tree:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if _literal(ast.unparse(right)):
                return _equality(_with_receiver(left, asked), ast.unparse(right))
        return None
    match tree:
        case ast.Call(func=ast.Name(id="print"), args=[printed], keywords=[]):
            return _equality(f"str({_with_receiver(printed, asked)})", repr(want))
    value = _literal(want) or _leading_value(want)
    if not isinstance(tree, ast.Call | ast.Subscript | ast.Attribute | ast.Name):
        source = f"({source})"
    return _equality(source, value) if value else None


def _equations(text: str, asked: Mapping[str, _Function]) -> Iterator[StatedExample]:
    calls = (
        found
        for found in _CALLED.finditer(text)
        if (found[1] in asked if asked else found[1].isidentifier() and not hasattr(builtins, found[1]))
    )
    for start in islice(calls, MAX_CALLS):
        name = start[1]
        if re.search(r"(?:\bdef|\bclass|>>>)[ \t]+$", text[max(0, start.start() - 20) : start.start()]):
            continue
        end = _balanced(text, start.end() - 1)
        call = _call(text[start.start() : end]) if end else None
        if end is None or call is None:
            continue
        source = asked.get(name, _Function()).receiver + call
        if raises := _RAISES.match(text, end):
            yield _raising(source, raises["error"])
        elif (mark := _MARK.match(text, end)) and (value := _leading_value(text[mark.end() :])):
            yield _equality(source, value)


def _given(text: str, name: str, function: _Function) -> Iterator[StatedExample]:
    for given in islice(_GIVEN.finditer(text), MAX_CALLS):
        value = _leading_value(text[given.end() :])
        arguments = _arguments(given["arguments"], function)
        if value and arguments is not None:
            yield _equality(f"{function.receiver}{name}({arguments})", value)


def _blocks(text: str, name: str, function: _Function) -> Iterator[StatedExample]:
    for given, expected in _pairs(text, only_samples=False):
        arguments = _arguments(given, function)
        value = _leading_value(expected.strip())
        if value and arguments is not None and len(given) <= MAX_SOURCE:
            yield _equality(f"{function.receiver}{name}({arguments})", value)


def _samples(text: str) -> Iterator[StatedExample]:
    for given, expected in _pairs(text, only_samples=True):
        if expected.strip() and max(len(given), len(expected)) <= MAX_SAMPLE:
            stdin = given.strip("\n")
            yield StatedExample(
                f"input {' '.join(given.split())!r} gives {' '.join(expected.split())!r}",
                StdioCase(f"{stdin}\n" if stdin.strip() else "", f"{expected.strip()}\n"),
            )


def _pairs(text: str, *, only_samples: bool) -> Iterator[tuple[str, str]]:
    """Blocks of an input and the output behind it.

    Args:
        text: The problem.
        only_samples: Only those that are called a sample or an example, by their label or by a heading above them:
            where standard input is described, a block "Input" describes it.
    """
    kind, sample, heading = "", False, False
    blocks: dict[str, list[str]] = {}
    fenced = False

    def complete() -> Iterator[tuple[str, str]]:
        if "output" in blocks and "input" in blocks and (sample or not only_samples):
            yield "\n".join(blocks["input"]), "\n".join(blocks["output"])

    for line in text.split("\n"):
        label = None if fenced else _LABEL.match(line)
        if label and (label["colon"] or not label["rest"].strip()):
            named = bool(label["before"] or label["behind"])
            if label["kind"].lower() == "input":
                yield from complete()
                blocks, sample = {}, False
            kind, sample = label["kind"].lower(), sample or named or heading
            rest = label["rest"].strip().strip("`")
            blocks[kind] = [rest] if rest else []
        elif not fenced and (_HEADING.match(line) or _END_OF_BLOCK.match(line)):
            yield from complete()
            blocks, kind, sample = {}, "", False
            heading = bool(_HEADING.match(line)) or (heading and not _END_OF_BLOCK.match(line))
        elif kind:
            if line.strip().startswith("```"):
                fenced = not fenced
                if not fenced:
                    kind = ""
            elif line.strip() in ('"""', "'''"):
                kind = ""
            elif not line.strip() and not fenced and any(one.strip() for one in blocks[kind]):
                kind = ""  # a blank line ends it
            else:
                blocks[kind].append(line)
    yield from complete()


# Pieces.


def _equality(call: str, value: str) -> StatedExample:
    shown = f"{call} == {value}"
    number = _fraction(value)
    if number is None:
        return StatedExample(shown, AssertCase(f'assert (got := {call}) == {value}, f"got {{got!r}}"'))
    most = TOLERANCE * max(1.0, abs(number))
    return StatedExample(shown, AssertCase(f'assert abs((got := {call}) - {value}) <= {most!r}, f"got {{got!r}}"'))


def _raising(call: str, error: str) -> StatedExample:
    source = (
        f"try:\n    {call}\nexcept Exception as error:\n"
        f'    assert {error!r} in [one.__name__ for one in type(error).__mro__], f"raised {{error!r}}"\n'
        "else:\n    assert False, 'raised nothing'"
    )
    return StatedExample(f"{call} raises {error}", AssertCase(source))


def _fraction(value: str) -> float | None:
    try:
        number = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return number if isinstance(number, float) and abs(number) < 1e300 else None


def _call(text: str) -> str | None:
    """A call of a function by name whose arguments are all literals, in one spelling."""
    if len(text) > MAX_SOURCE:
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.Call) or any(one.arg is None for one in tree.keywords):
            return None
        values = [*tree.args, *(one.value for one in tree.keywords)]
        return ast.unparse(_translated(tree)) if all(map(_is_literal, values)) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _arguments(text: str, function: _Function) -> str | None:
    """Arguments of a call, from "x = 1, y = [2]", "x: 1" on lines of their own, or values as parameters come."""
    lines = [re.sub(r"^(\w+)[ \t]*:[ \t]*", r"\1 = ", line.strip().rstrip(",;")) for line in text.split("\n")]
    joined = ", ".join(line for line in lines if line)
    call = _call(f"f({joined})")
    if not joined or call is None:
        return None
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)  # noqa: S101
    named = {one.arg or "": ast.unparse(one.value) for one in tree.keywords}
    if function.parameters and not len(tree.args) + len(named) <= len(function.parameters):
        return None
    if not named:
        return call[len("f(") : -1]
    if tree.args:
        return None
    # By their places, as far as that can be told: a program may have other names for its parameters.
    if set(function.parameters[: len(named)]) == set(named):
        return ", ".join(named[name] for name in function.parameters[: len(named)])
    if set(named) <= set(function.parameters):
        return call[len("f(") : -1]
    return ", ".join(named.values()) if len(named) == len(function.parameters) else None


def _leading_value(text: str) -> str | None:
    """The literal that a text begins with, where that is sure to be all of the value."""
    text = text[:MAX_SOURCE].lstrip(" \t")
    end = _end_of_atom(text, 0)
    while end is not None and (operator := _OPERATOR.match(text, end)):
        end = _end_of_atom(text, operator.end())
    if end is None or _GOES_ON.match(text, end):
        return None
    return _literal(text[:end])


def _end_of_atom(text: str, start: int) -> int | None:
    """Behind the number, word, string or bracket that begins at `start`; None where none does."""
    if number := _NUMBER.match(text, start):
        return number.end()
    word = _WORD.match(text, start) or _STRING.match(text, start)
    at = start if word is None else word.end()
    if word is not None and text[at : at + 1] not in tuple("(\"'"):
        return at
    return _balanced(text, at) if text[at : at + 1] in tuple("([{\"'") else None


def _literal(text: str) -> str | None:
    """A text that is a literal, or arithmetic with numbers, in one spelling."""
    if len(text) > MAX_SOURCE:
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return ast.unparse(_translated(tree)) if _is_literal(tree) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_literal(tree: ast.expr) -> bool:
    match tree:
        case ast.Constant(value=value):
            return value is not ...
        case ast.Name(id=name):
            return name in _WORDS
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return all(map(_is_literal, parts))
        case ast.Dict(keys=keys, values=values):
            return all(key is not None and _is_literal(key) for key in keys) and all(map(_is_literal, values))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _is_literal(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            return _is_number(left) and _is_number(right)
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
            return name in _CONTAINERS and len(parts) <= 1 and all(map(_is_literal, parts))
    return False


def _is_number(tree: ast.expr) -> bool:
    match tree:
        case ast.Constant(value=value):
            return isinstance(value, int | float | complex) and not isinstance(value, bool)
        case ast.UnaryOp(operand=operand):
            return _is_number(operand)
        case ast.BinOp():
            return _is_literal(tree)
    return False


class _Translate(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.parse(_WORDS[node.id], mode="eval").body if node.id in _WORDS else node


def _translated(tree: ast.expr) -> ast.expr:
    """With Python's words for true, false and null."""
    changed: ast.expr = _Translate().visit(tree)
    return changed


def _with_receiver(tree: ast.expr, asked: Mapping[str, _Function]) -> str:
    match tree:
        case ast.Call(func=ast.Name(id=name)) if name in asked:
            return asked[name].receiver + ast.unparse(tree)
    return ast.unparse(tree)


def _has_walrus(source: str) -> bool:
    return ":=" in source


def _with_imports(source: str) -> str | None:
    """The source with imports of the modules that it uses; None where it does not compile."""
    try:
        compile(source, "<example>", "exec", dont_inherit=True)
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if len(source) > MAX_CASE:
        return None
    return "".join(f"import {name}\n" for name in sorted(names & _MODULES) if f"import {name}" not in source) + source


def _balanced(text: str, start: int) -> int | None:
    """Behind the bracket or the string that begins at `start`; None where it does not end within reach."""
    depth, quote, at = 0, "", start
    while at < min(len(text), start + MAX_SOURCE):
        sign = text[at]
        if quote:
            if sign == "\\":
                at += 1
            elif sign == quote:
                quote = ""
            elif sign == "\n":
                return None
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        at += 1
        if depth <= 0 and not quote:
            return at
    return None
