"""The files that people verify: pairs of answers, cases for a program, and what a patch of a repository must do."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from espalier.v1 import common_pb2
from espalier.verifiers import proto
from espalier.verifiers.check import PatchCheck, ProgramCheck
from espalier.verifiers.check_text import spelled_out

MAX_NAMED = 10
"""Malformed lines that are named one by one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of a file of pairs: what was answered and what is right."""

    line: int
    gold: str
    answer: str


def read_pairs(content: bytes, name: str) -> list[Pair]:
    """The pairs of a JSONL file with the fields `gold` and `answer`, in order; empty lines do not count.

    Numbers may stand without quotes and are taken digit by digit as written.

    Raises:
        ValueError: There are no pairs, or some lines are malformed; all of them are counted, the first ones named.
    """
    pairs: list[Pair] = []
    faults: list[str] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs.append(_pair(number, line))
        except ValueError as error:
            faults.append(f"{name}:{number}: {error}")
    if not pairs and not faults:
        raise ValueError(f'{name}: has no pairs; write one a line, {{"gold": "1/2", "answer": "0.5"}}')
    if faults:
        more = [f"… and {len(faults) - MAX_NAMED} more"] if len(faults) > MAX_NAMED else []
        raise ValueError("\n".join([*faults[:MAX_NAMED], *more]))
    return pairs


def _pair(number: int, line: bytes) -> Pair:
    try:
        row = json.loads(line.decode(), parse_int=str, parse_float=str)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError('not a JSON object; write {"gold": "1/2", "answer": "0.5"}')
    for field in ("gold", "answer"):
        if field not in row:
            raise ValueError(f"no field {field!r}")
        if not isinstance(row[field], str):
            raise ValueError(f"field {field!r} is neither text nor a number")
    if not row["gold"].strip():
        raise ValueError("field 'gold' is empty")
    return Pair(number, row["gold"], row["answer"])


def read_program_check(content: bytes, name: str, language: str | None = None) -> ProgramCheck:
    """The check in a JSON file: a list of cases, or an object with the fields of `ProgramCheck` (docs/verifiers.md).

    In a `call`, `arguments` and `expected` may be plain JSON instead of `arguments_json` and `expected_json`.

    Args:
        content: The file.
        name: Its name, for errors.
        language: Of the program, when the file does not say.

    Raises:
        ValueError: The file is malformed; the message names the field.
    """
    if not content.strip():
        raise ValueError(f"{name}: is empty; write a JSON list of cases, or an object with the field 'cases'")
    try:
        value = json.loads(content.decode())
        check = {"cases": value} if isinstance(value, list) else value
        if not isinstance(check, dict):
            raise ValueError("neither a list of cases nor an object with the field 'cases'")
        message = json_format.ParseDict(spelled_out(check), common_pb2.ProgramCheck())
        if language is not None and not message.language:
            message.language = language
        return proto.decode_program(message, at="cases file")
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: is not UTF-8 text; write JSON") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: not JSON: {error}") from None
    except (ValueError, json_format.ParseError) as error:
        raise ValueError(f"{name}: {error}") from None


def read_patch_check(file: Path, repositories: Path | None = None) -> PatchCheck:
    """The check in a JSON file with the fields of `PatchCheck`, whose repository is packed and put into a store.

    In the file, `repository` is a directory, or the name of an archive that the store has already; `revision` may name
    a revision of git; `files` and `hidden_files` may be a directory whose files are meant. Directories are relative to
    the file.

    Args:
        file: The file.
        repositories: The store; None: the one that the settings name.

    Raises:
        ValueError: The file is malformed or what it names cannot be used; the message names the field.
        OSError: A file cannot be read, or the store cannot be written.
    """
    from espalier.verifiers.patch.repository import RepositoryError, pack, store
    from espalier.verifiers.patch.settings import PatchSettings

    try:
        value = json.loads(file.read_bytes().decode())
        if not isinstance(value, dict):
            raise ValueError('not a JSON object; write {"repository": "…", "must_pass": ["…"]}')
        for field in ("files", "hidden_files"):
            if isinstance(value.get(field), str):
                value[field] = _texts(file.parent / value[field], field)
        repository, revision = value.get("repository"), value.pop("revision", "")
        if not isinstance(repository, str) or not isinstance(revision, str):
            raise ValueError("repository: give the path of a directory")
        packed = bool(proto.REPOSITORY.fullmatch(repository))
        check = proto.decode_patch(
            json_format.ParseDict({**value, "repository": repository if packed else "0" * 64}, common_pb2.PatchCheck()),
            at="check file",
        )
        if packed:
            return check
        archive = pack(file.parent / repository, revision)
        return replace(check, repository=store(archive, repositories or PatchSettings().repositories))
    except RecursionError:
        raise ValueError(f"{file}: nested too deeply") from None
    except RepositoryError as error:
        raise ValueError(f"{file}: repository: {error}") from None
    except (ValueError, json_format.ParseError) as error:
        raise ValueError(f"{file}: {error}") from None


def _texts(directory: Path, field: str) -> dict[str, Any]:
    """The texts of the files below a directory, by path."""
    if not directory.is_dir():
        raise ValueError(f"{field}: {directory} is no directory; give one, or the texts by path")
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                found[path.relative_to(directory).as_posix()] = path.read_bytes().decode()
            except UnicodeDecodeError:
                raise ValueError(f"{field}: {path} is not UTF-8") from None
    return found
