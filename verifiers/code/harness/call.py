"""Runs inside the box, beside the program: calls one of its functions and writes the value it returned as JSON.

Standard input: {"function": name, "arguments": [...]}. The name may have dots; a name that the module lacks is looked up on an instance
of its class `Solution`. What the program expects to return is not known here.
"""

import functools
import json
import os
import sys
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
    value = find(module, request["function"])(*request["arguments"])
    body = json.dumps(value).encode()
    while body:
        body = body[os.write(result, body) :]


def find(module: types.ModuleType, name: str) -> "types.FunctionType":
    first = name.split(".")[0]
    owner = module if hasattr(module, first) or not hasattr(module, "Solution") else module.Solution()
    return functools.reduce(getattr, name.split("."), owner)


main(sys.argv[1])
