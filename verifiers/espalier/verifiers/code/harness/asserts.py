# ruff: noqa: PTH123 (pathlib would cost every case its import)
"""Runs inside the box, in the program's own interpreter: test source that asserts about the program.

Standard input: {"tests": source, "token": text}. The names of the program are defined for the tests, and it can be
imported as `solution`. Tests with functions or classes for pytest run under pytest. The token is written to RESULT_FD
at the very end: a program that exits early does not complete. A program written to deceive can still forge an
assertion, for example by what its objects say they equal; use CallCase or StdioCase where that matters.
"""

import ast
import json
import linecache
import os
import sys
import traceback
import types


def main(path: str) -> None:
    request = json.load(sys.stdin)
    result = int(os.environ.pop("RESULT_FD"))
    module = types.ModuleType("solution")
    module.__file__ = path
    sys.modules["solution"] = module
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()
    exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 (in the box)
    if for_pytest(request["tests"]):
        run_pytest(request["tests"])
    else:
        run_plain(request["tests"], {**module.__dict__, "__name__": "tests"})
    os.write(result, request["token"].encode())


def for_pytest(tests: str) -> bool:
    return any(
        (isinstance(node, ast.FunctionDef) and node.name.startswith("test"))
        or (isinstance(node, ast.ClassDef) and node.name.startswith("Test"))
        for node in ast.parse(tests).body
    )


def run_plain(tests: str, names: "dict[str, object]") -> None:
    linecache.cache["<tests>"] = (len(tests), None, tests.splitlines(keepends=True), "<tests>")
    try:
        exec(compile(tests, "<tests>", "exec"), names)  # noqa: S102 (in the box)
    except Exception:
        traceback.print_exc()  # unlike the interpreter's own report, this one shows the line of the test
        sys.exit(1)


def run_pytest(tests: str) -> None:
    import pytest

    with open("test_program.py", "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write("from solution import *\n" + tests)
    options = ["-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--rootdir=.", "-c", os.devnull]
    code = pytest.main([*options, "test_program.py"])
    if code != 0:
        sys.exit(f"pytest ended with {code!r}")


main(sys.argv[1])
