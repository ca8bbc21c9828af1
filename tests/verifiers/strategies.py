"""Random checks, verdicts, and arbitrary protobuf messages."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from espalier.verifiers import check as c
from espalier.verifiers.math.grammar.numerals import _PARTS, _TENS
from espalier.verifiers.math.units import _PREFIXES, _SI, _TABLE
from espalier.verifiers.math.words import NUMERALS, SCALES
from espalier.verifiers.proto import MAX_ROUND_TO, MAX_SECONDS
from espalier.verifiers.verdict import Evidence, Status, Verdict

# Protobuf strings are UTF-8: no lone surrogates.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
filled = texts.filter(str.strip)
seconds = st.floats(min_value=0, max_value=MAX_SECONDS, exclude_min=True)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | texts,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)

options = st.builds(
    c.MathOptions,
    percent_as_fraction=st.booleans(),
    missing_unit_ok=st.booleans(),
    interval_as_inequality=st.booleans(),
    ordered_lists=st.booleans(),
    round_to=st.none() | st.integers(0, MAX_ROUND_TO),
)
constraints = st.one_of(
    st.builds(
        c.NumberUse,
        numbers=st.lists(filled, min_size=1, max_size=4).map(tuple),
        target=filled,
        use_all=st.booleans(),
        operators=st.lists(filled, min_size=1, max_size=4).map(tuple),
    ),
    st.builds(
        c.Relation,
        filled,
        all_solutions=st.booleans(),
        round_to=st.none() | st.integers(0, MAX_ROUND_TO),
    ),
    st.builds(c.Domain, filled),
)
cases = st.one_of(
    st.builds(c.StdioCase, texts, texts, st.booleans()),
    st.builds(
        c.CallCase, names, st.lists(json_values, max_size=3).map(json.dumps), json_values.map(json.dumps), st.booleans()
    ),
    st.builds(c.AssertCase, filled, st.just("") | names, st.booleans()),
    st.builds(c.CheckerCase, texts, texts, filled, st.booleans()),
)
limits = st.builds(
    c.ProgramLimits,
    case_seconds=seconds,
    total_seconds=seconds,
    memory_mib=st.integers(1, 2**32 - 1),
    output_bytes=st.integers(1, 2**32 - 1),
)
paths = st.builds("{}/{}.py".format, names, names)
test_names = paths | st.builds("{}::{}[{}]".format, paths, names, st.integers(0, 9))
overlays = st.dictionaries(paths, texts, max_size=2).map(lambda files: tuple(sorted(files.items())))
checks = st.one_of(
    st.builds(c.ReferenceCheck, filled, options),
    st.builds(c.ConstraintCheck, st.lists(constraints, min_size=1, max_size=3).map(tuple)),
    st.just(c.StepCheck()),
    st.builds(
        c.ProgramCheck,
        cases=st.lists(cases, min_size=1, max_size=3).map(tuple),
        language=filled,
        comparison=st.sampled_from(c.Comparison),
        tolerance=st.floats(min_value=0, max_value=1e300),
        stop_at_first_failure=st.booleans(),
        limits=limits,
    ),
    st.builds(
        c.PatchCheck,
        repository=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        must_pass=st.lists(test_names, min_size=1, max_size=3).map(tuple),
        must_not_break=st.lists(test_names, max_size=3).map(tuple),
        command=st.lists(filled, max_size=2).map(lambda arguments: ("pytest", *arguments)),
        protected_paths=st.lists(filled, max_size=2).map(tuple),
        files=overlays,
        hidden_files=overlays,
        image=names,
        environment=st.just("") | names,
        limits=st.builds(c.PatchLimits, seconds=seconds, memory_mib=st.integers(1, 2**32 - 1)),
    ),
    st.builds(c.CustomCheck, names, st.dictionaries(texts, json_values, max_size=2).map(json.dumps)),
)
claims = st.builds(c.Claim, text=texts, bare=st.booleans(), problem=texts)
verdicts = st.builds(
    Verdict,
    status=st.sampled_from(Status),
    score=st.floats(0, 1),
    decided_by=texts,
    evidence=st.lists(st.builds(Evidence, texts, texts), max_size=3).map(tuple),
    feedback=texts,
)

_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: texts,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats() | st.floats(0, 60),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1) | st.integers(0, 9),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    # proto3 enums are open: a newer client may send numbers that this server does not know.
    FieldDescriptor.TYPE_ENUM: st.integers(0, 6) | st.integers(-(2**31), 2**31 - 1),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 6) -> Message:
    """Any message of a type: each field absent or set to anything that its type can carry."""
    message = GetMessageClass(descriptor)()
    chosen = {draw(st.sampled_from(list(oneof.fields))).name for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        in_oneof = field.containing_oneof is not None
        if (in_oneof and field.name not in chosen) or draw(st.integers(0, 4)) == 0:
            continue
        _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    of_messages = field.message_type is not None
    if of_messages and depth == 0:
        return
    value = messages(field.message_type, depth - 1) if of_messages else _SCALARS[field.type]
    if of_messages and field.message_type.GetOptions().map_entry:
        key, held = (_SCALARS[field.message_type.fields_by_name[name].type] for name in ("key", "value"))
        getattr(message, field.name).update(draw(st.dictionaries(key, held, max_size=3)))
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(value, max_size=3)))
    elif of_messages:
        getattr(message, field.name).CopyFrom(draw(value))
    else:
        setattr(message, field.name, draw(value))


_HERE = Path(__file__).parent
_SNIPPETS = [*(_HERE / "snippets.txt").read_text().splitlines(), " ", "\n"]
answers = st.one_of(
    st.lists(st.sampled_from(_SNIPPETS), max_size=25).map("".join),
    st.lists(st.sampled_from(_SNIPPETS), max_size=25).map(" ".join),
    st.lists(st.sampled_from(_SNIPPETS) | st.text(max_size=4), max_size=15).map("".join),
    st.text(max_size=60),
    st.builds(lambda snippet, times: snippet * times, st.sampled_from(_SNIPPETS), st.integers(1, 6000)),
)
"""What a model might claim: mathematics, near-mathematics and rubbish."""


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_HERE / name).read_text().splitlines()]


_TOKEN = re.compile(r"\\[A-Za-z]+|[A-Za-z]+|\d+|.", re.DOTALL)


def _changed(text: str, other: str, chance: random.Random) -> str:
    """A text with one to three of its tokens left out, doubled, exchanged, or replaced by one of another text."""
    tokens = _TOKEN.findall(text)
    pool = _TOKEN.findall(other) + _SNIPPETS
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(tokens) + 1)
        match chance.randrange(5):
            case 0:
                del tokens[at : at + 1]
            case 1:
                tokens[at:at] = tokens[at : at + 1]
            case 2:
                tokens[at:at] = [chance.choice(pool)]
            case 3:
                tokens[at : at + 1] = [chance.choice(pool)]
            case _:
                tokens[at : at + 2] = reversed(tokens[at : at + 2])
    return "".join(tokens)


def near(texts: list[str]) -> st.SearchStrategy[str]:
    """These texts, and what a few changed tokens make of them."""
    known = st.sampled_from(texts)
    return known | st.builds(_changed, known, known, st.randoms(use_true_random=False))


near_answers = near(sorted({row[side] for row in _rows("math_cases.jsonl") for side in ("gold", "answer")}))
"""Answers of the table, and what a few changed tokens make of them."""

near_responses = near(sorted({row["response"] for row in _rows("answer_cases.jsonl")}))
"""Responses of the table, and what a few changed tokens make of them."""

_NUMBER_WORDS = [*NUMERALS, *_TENS, *_PARTS, *SCALES, "hundred", "and", "a", "half", "minus", "negative", "dozen", "-"]
numerals = st.lists(st.sampled_from(_NUMBER_WORDS), min_size=1, max_size=9).map(" ".join)
"""Words of numbers in any order."""

_UNITS = sorted({*_TABLE, *_SI, *(prefix + unit for prefix in _PREFIXES for unit in _SI), "°C", "mph", "kWh", "widget"})
_unit = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "square ", "cubic ", "per "]),
    st.sampled_from(_UNITS),
    st.sampled_from(["", "", "", "s", "^2", "^{-1}", " squared", "/", "*", r"\cdot "]),
)
quantities = st.builds(
    lambda value, units, upright: f"{value} " + (rf"\text{{{' '.join(units)}}}" if upright else " ".join(units)),
    st.integers(-50, 5000) | st.sampled_from(["0.5", "1/3", r"\frac{1}{2}", "1,000", "x", "1e3", ""]),
    st.lists(_unit, min_size=1, max_size=3),
    st.booleans(),
)
"""Values with units, known and unknown, in any order."""


def in_words(value: int) -> str:
    """A whole number below 10^15 in English words."""
    if value < 0:
        return f"minus {in_words(-value)}"
    for scale, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand")):
        if value >= scale:
            rest = f" {in_words(value % scale)}" if value % scale else ""
            return f"{in_words(value // scale)} {word}{rest}"
    if value >= 100:
        return f"{_ONES[value // 100]} hundred" + (f" and {in_words(value % 100)}" if value % 100 else "")
    if value > 20:
        tens = list(_TENS)[[*_TENS.values()].index(value // 10 * 10)]
        return f"{tens}-{_ONES[value % 10]}" if value % 10 else tens
    return _ONES[value]


_ONES = {value: word for word, value in NUMERALS.items()}
