"""Compare the plugin's table of SGLang's functions with wheels of SGLang, which need not be installed.

    pip download --no-deps sglang==0.5.21
    python scripts/sglang_signatures.py sglang-0.5.21-*.whl

Prints what differs; the exit status is 1 if anything does. For a new version: add it to the table, and look here.
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from espalier.runtime.sglang.plugin.compat import ATTENTION_SIGNATURES, SIGNATURES


def parameters(source: str, names: Sequence[str]) -> str | None:
    """Parameters of a function in a module, `names` being the way to it; None if it is not there."""
    body: list[ast.stmt] = ast.parse(source).body
    found: ast.stmt | None = None
    for name in names:
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        found = next((item for item in body if isinstance(item, kinds) and item.name == name), None)
        body = found.body if isinstance(found, kinds) else []
    if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    own = found.args
    plain = [*own.posonlyargs, *own.args, *filter(None, [own.vararg]), *own.kwonlyargs, *filter(None, [own.kwarg])]
    return ", ".join(each.arg for each in plain)


def differences(wheel: Path) -> Iterator[str]:
    """What the table says otherwise than the wheel."""
    version = re.sub(r"^sglang-(\d+\.\d+\.\d+).*", r"\1", wheel.name)
    if version not in SIGNATURES:
        yield f"{wheel.name}: not in the table"
        return
    with zipfile.ZipFile(wheel) as files:
        known = set(files.namelist())
        for target, expected in (SIGNATURES[version] | ATTENTION_SIGNATURES[version]).items():
            words = target.split(".")
            modules = (("/".join(words[:end]) + ".py", words[end:]) for end in range(len(words) - 1, 0, -1))
            module, names = next(((path, rest) for path, rest in modules if path in known), (None, []))
            found = parameters(files.read(module).decode(), names) if module else None
            if found != expected:
                yield f"{version}: {target} takes ({found}), the table says ({expected})"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    different = [line for path in sys.argv[1:] for line in differences(Path(path))]
    print("\n".join(different) or f"{len(sys.argv) - 1} wheels, all as the table says")
    sys.exit(bool(different))
