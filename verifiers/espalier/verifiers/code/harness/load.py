# ruff: noqa: PTH123 (pathlib would cost every case its import)
# Between values.py and a harness: finds the program's modules and the standard library's ways around a value.
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

JOB = "/tmp/job"  # noqa: S108 (inside the box)


def load(path: str) -> types.ModuleType:
    """Run the program as the module `solution`; its other files can be imported beside it."""
    sys.path.insert(0, JOB)
    module = types.ModuleType("solution")
    module.__file__ = path
    sys.modules["solution"] = module
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()
    exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 (in the box)
    return module


def find(module: types.ModuleType, name: str) -> "Callable[..., object]":
    """A function by its name, which may have dots; what the module lacks is looked up on its class `Solution`."""
    first = name.split(".")[0]
    owner: object = module if hasattr(module, first) or not hasattr(module, "Solution") else module.Solution()
    for part in name.split("."):
        owner = getattr(owner, part)
    assert callable(owner), f"{name} is no function"  # noqa: S101 (the program's fault, told by its traceback)
    return owner


def finish(awaitable: Any) -> Any:
    """What an awaitable comes to, in one event loop for all of them."""
    import asyncio

    if not _loops:
        _loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(_loops[0])

    async def wait() -> Any:
        return await awaitable

    return _loops[0].run_until_complete(wait())


_loops: "list[Any]" = []
