"""From one setting to an engine: `local`, `local:PATH` or `sglang://HOST:PORT[,HOST:PORT…][?key-file=FILE&…]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.sglang.setting import SCHEME, EngineSettingError, client_of

if TYPE_CHECKING:
    from espalier.runtime.engine import Engine

__all__ = ["SETTINGS", "EngineSettingError", "open_engine", "template_of"]

SETTINGS = (
    "local (the bundled model), local:PATH (a model directory) or sglang://HOST:PORT[,HOST:PORT...] (servers with one "
    "model; ?key-file=FILE if they want a key, ?tokenizer=PATH if theirs is not on this machine)"
)


@asynccontextmanager
async def open_engine(setting: str) -> AsyncIterator[Engine]:
    """Load or connect to an engine, and free it at the end. What an engine needs is imported only when it is chosen.

    Raises:
        EngineSettingError: The setting names no engine.
        EngineError: The engine cannot be had; the message says why.
    """
    if setting == "local" or setting.startswith("local:"):
        directory = _directory(setting.removeprefix("local").removeprefix(":"))
        from espalier.runtime.local.engine import LocalEngine

        async with await asyncio.to_thread(LocalEngine.load, directory) as local:
            yield local
    elif setting.startswith(SCHEME):
        async with client_of(setting) as remote:
            yield remote
    else:
        raise EngineSettingError(f"unknown engine {setting!r}; write {SETTINGS}")


def template_of(engine: Engine, instruction: Path | None) -> PromptTemplate:
    """The instruction text: from a file if one is given, else what the model's own directory holds.

    Raises:
        ValueError: The file cannot be read or does not hold `{question}` once.
    """
    if instruction is not None:
        try:
            return PromptTemplate.load(instruction)
        except OSError as error:
            raise ValueError(f"cannot read the instruction text {instruction}: {error.strerror}") from None
    directory = Path(engine.info.model)
    return PromptTemplate.load(directory) if directory.is_dir() else PromptTemplate()


def _directory(path: str) -> Path | None:
    directory = Path(path).expanduser()
    if path and not directory.is_dir():
        raise EngineSettingError(f"no model directory at {path}")
    return directory if path else None
