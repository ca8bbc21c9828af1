"""Public data sets as files of problems with checks: GSM8K, MATH and DeepScaleR, MBPP, EvalPlus, and fields by name."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.core.limits import require_no_surrogates
from espalier.solver.core.problem import Problem, ProblemError
from espalier.verifiers.check import AssertCase, Check, ProgramCheck, ReferenceCheck
from espalier.verifiers.check_text import check_to_json


class DatasetError(ValueError):
    """A file is no data set of its kind; the message names file, row and field."""


class NoAnswerError(DatasetError):
    """A row has its field for the answer, and nothing in it."""


class DatasetKind(StrEnum):
    """What the rows of a data set look like."""

    GSM8K = "gsm8k"
    """`question`, and `answer` whose last line is `#### RESULT`."""
    MATH = "math"
    """`problem` and `answer`: MATH, MATH-500, DeepScaleR, AIME and the like."""
    MBPP = "mbpp"
    """`text` or `prompt`, and `test_list` with assertions."""
    EVALPLUS = "evalplus"
    """HumanEval+ and MBPP+: expected values are computed from `canonical_solution`, see :mod:`.evalplus`."""
    FIELDS = "fields"
    """Question and answer in fields that the caller names."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields of a row of kind `FIELDS`; `id`, of every kind, may be missing or empty, and the row's number
    stands for it."""

    text: str = "problem"
    answer: str = "answer"
    id: str = "id"


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows are taken: those whose `field` is one of `values`; a number is written as short as it can be (`3`)."""

    field: str
    values: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Where:
        """From `FIELD=VALUE,VALUE`.

        Raises:
            ValueError: It is written in another way.
        """
        field, equals, values = text.partition("=")
        found = frozenset(value.strip() for value in values.split(","))
        if not (field and equals and all(found)):
            raise ValueError(f"{text!r}: write FIELD=VALUE,VALUE, for example level=1,2,3")
        return cls(field, found)

    def takes(self, row: Mapping[str, Any], where: str) -> bool:
        """
        Raises:
            DatasetError: The row lacks the field; `where` names the row.
        """
        if self.field not in row:
            raise DatasetError(f"{where}: there is no field {self.field!r}")
        return _spelled(row[self.field]) in self.values


def _spelled(value: object) -> str:
    """A field's value as people write it: `3` for 3.0, `true`."""
    match value:
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a JSON Lines file (also gzipped), a JSON list, or a Parquet file.

    Raises:
        DatasetError: It cannot be read as what its name says.
    """
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            yield from _parquet(path)
            return
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if name.endswith(".json"):
        yield from _list(path, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: JSON may hold other ends of lines
        if line.strip():
            yield _object(_parsed(line, f"{path}:{number}"), f"{path}:{number}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: {error}") from None


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: a row must be a JSON object")
    return value


def _list(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    found = _parsed(text, str(path))
    if not isinstance(found, list):
        raise DatasetError(f"{path}: a .json file must hold a list of rows; name JSON lines .jsonl")
    for number, row in enumerate(found, start=1):
        yield _object(row, f"{path}: row {number}")


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        for batch in file.iter_batches():
            yield from batch.to_pylist()
    except arrow.ArrowException as error:
        raise DatasetError(f"{path}: {error}") from None


def problems(
    path: Path,
    kind: DatasetKind,
    fields: Fields = Fields(),
    unanswered: Callable[[int], None] | None = None,
    where: Sequence[Where] = (),
) -> Iterator[Problem]:
    """The problems of a data set with their checks, in its order.

    Not for :attr:`DatasetKind.EVALPLUS`, which needs a sandbox.

    Args:
        path: The file.
        kind: What its rows look like.
        fields: For :attr:`DatasetKind.FIELDS`.
        unanswered: Hears the numbers of rows whose answer is empty, which are left out; None: they are refused.
        where: Only rows that all of these take.

    Raises:
        DatasetError: A row lacks a field or holds something else in it, or two rows have one id.
    """
    read = {DatasetKind.GSM8K: _gsm8k, DatasetKind.MATH: _math, DatasetKind.MBPP: _mbpp}.get(kind)
    number = 0
    seen: dict[str, int] = {}
    for number, row in enumerate(rows(path), start=1):
        place = f"{path}: row {number}"
        if not all(one.takes(row, place) for one in where):
            continue
        named = row.get(fields.id, row.get("task_id"))
        identity = f"{path.name.partition('.')[0]}-{number if _missing(named) else named}"
        try:
            text, check = read(row, place) if read else _by_fields(row, fields, place)
        except NoAnswerError:
            if unanswered is None:
                raise
            unanswered(number)
            continue
        if (other := seen.setdefault(identity, number)) != number:
            raise DatasetError(
                f"{place}: the id {identity!r} is also that of row {other}; name with --id a field that tells rows "
                "apart, or one that none has: their numbers do"
            )
        try:
            yield Problem(identity, text, check)
        except ProblemError as error:
            raise DatasetError(f"{place}: {error}") from None
    if not number:
        raise DatasetError(f"{path}: there is no row in it")


def _missing(value: object) -> bool:
    """Whether a field is empty; data frames write NaN for that."""
    return value is None or value in ("", []) or (isinstance(value, float) and math.isnan(value))


def to_json(problem: Problem) -> str:
    """A line of a file of problems, as `espalier solve --problems` and the stages of training read it."""
    check = {"check": check_to_json(problem.check)} if problem.check else {}
    return json.dumps({"id": problem.id, "text": problem.text, **check}, ensure_ascii=False)


def text_field(row: Mapping[str, Any], name: str, where: str) -> str:
    """A field with text in it.

    Raises:
        DatasetError: It is missing, empty or something else.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        there = ", ".join(sorted(row))
        raise DatasetError(f"{where}: no text in field {name!r}; the row has {there}")
    return value


def _answer(row: Mapping[str, Any], name: str, where: str) -> ReferenceCheck:
    value = row.get(name)
    if name in row and _missing(value):
        raise NoAnswerError(f"{where}: field {name!r} is empty")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number or isinstance(value, str)) or not str(value).strip():
        raise DatasetError(f"{where}: no answer in field {name!r}")
    try:
        require_no_surrogates(value, f"field {name!r}")
    except FieldError as error:
        raise DatasetError(f"{where}: {error.field} {error.problem}") from None
    return ReferenceCheck(str(value).strip())


def _gsm8k(row: Mapping[str, Any], where: str) -> tuple[str, Check]:
    _, mark, result = text_field(row, "answer", where).rpartition("####")
    if not mark or not result.strip():
        raise DatasetError(f"{where}: field 'answer' does not end with a line '#### RESULT'")
    return text_field(row, "question", where), ReferenceCheck(result.strip().replace(",", ""))


def _math(row: Mapping[str, Any], where: str) -> tuple[str, Check]:
    return text_field(row, "problem", where), _answer(row, "answer", where)


def _by_fields(row: Mapping[str, Any], fields: Fields, where: str) -> tuple[str, Check]:
    return text_field(row, fields.text, where), _answer(row, fields.answer, where)


def _mbpp(row: Mapping[str, Any], where: str) -> tuple[str, Check]:
    tests = row.get("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(one, str) for one in tests):
        raise DatasetError(f"{where}: no assertions in field 'test_list'")
    imports = row.get("test_imports") or []
    before = "\n".join([*imports, row.get("test_setup_code") or ""]).strip()
    cases = tuple(AssertCase(f"{before}\n{test}".strip()) for test in tests)
    task = text_field(row, "text" if "text" in row else "prompt", where)
    return f"{task}\nYour program must pass this test:\n{tests[0]}", ProgramCheck(cases)


def within(found: Iterable[Problem], max_words: int) -> Iterator[Problem]:
    """The problems whose text has at most so many words."""
    return (problem for problem in found if len(problem.text.split()) <= max_words)
