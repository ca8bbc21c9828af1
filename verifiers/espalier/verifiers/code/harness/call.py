# ruff: noqa: PTH123 (pathlib would cost every case its import)
"""Runs inside the box, beside the program: calls one of its functions and writes the value it returned as JSON.

Standard input: {"function": name, "arguments": [...]}. The name may have dots; a name that the module lacks is looked
up on an instance of its class `Solution`. What the function should return is not known here.
"""

import json
import os
import sys
import types
from collections.abc import Callable


def main(path: str) -> None:
    request = json.load(sys.stdin)
    result = int(os.environ.pop("RESULT_FD"))
    module = types.ModuleType("solution")
    module.__file__ = path
    sys.modules["solution"] = module
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()
    exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 (in the box)
    value = find(module, request["function"])(*request["arguments"])
    body = json.dumps(value).encode()
    while body:
        body = body[os.write(result, body) :]


def find(module: types.ModuleType, name: str) -> "Callable[..., object]":
    first = name.split(".")[0]
    owner: object = module if hasattr(module, first) or not hasattr(module, "Solution") else module.Solution()
    for part in name.split("."):
        owner = getattr(owner, part)
    assert callable(owner), f"{name} is no function"  # noqa: S101 (the program's fault, told by its traceback)
    return owner


main(sys.argv[1])
