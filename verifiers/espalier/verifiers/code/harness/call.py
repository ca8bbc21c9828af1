"""Runs inside the box, beside the program: calls one of its functions and writes the value it returned as data.

Standard input: {"function": name, "arguments": items} as values.py writes them. What the function should return is not
known here. Iterators are run to their end, awaitables awaited, arrays of numpy made lists.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from espalier.verifiers.code.harness.load import find, finish, load
    from espalier.verifiers.code.values import Factory, Instead, decode, encode, refuse, to_text


def main(path: str) -> None:
    request = json.load(sys.stdin)
    result = int(os.environ.pop("RESULT_FD"))
    value = find(load(path), request["function"])(*decode(request["arguments"]))
    body = to_text(encode(value, instead)).encode()
    while body:
        body = body[os.write(result, body) :]


def instead(value: "Any") -> "Any":
    kind = type(value)
    if isinstance(value, Factory):
        return Instead(None)  # what the dictionary holds is the value
    if hasattr(kind, "__await__") or hasattr(kind, "cr_await"):
        return Instead(finish(value))
    if hasattr(kind, "__anext__"):
        return Instead(finish(collect(value)))
    if hasattr(kind, "__next__"):
        return Instead(list(value))
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return Instead(value.tolist())
    if hasattr(kind, "__members__"):
        return Instead(value.value)
    return refuse(value)


async def collect(items: "Any") -> "list[Any]":
    return [item async for item in items]


main(sys.argv[1])
