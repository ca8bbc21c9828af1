"""From one setting to an engine: `local`, `local:PATH` or `sglang://HOST:PORT`."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from espalier.runtime.prompt import PromptTemplate

if TYPE_CHECKING:
    from espalier.runtime.engine import Engine

SETTINGS = "local (the bundled model), local:PATH (a model directory) or sglang://HOST:PORT"


class EngineSettingError(ValueError):
    """A setting that names no engine; the message says what to write."""


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
    elif setting.startswith("sglang://"):
        address = urlsplit(setting)
        if not address.hostname or address.port is None:
            raise EngineSettingError(f"{setting} lacks host or port; write sglang://HOST:PORT")
        try:
            client = importlib.import_module("espalier.runtime.sglang.client")
        except ModuleNotFoundError as error:
            raise EngineSettingError(f"this installation cannot talk to SGLang: {error}") from error
        async with client.SglangEngine(f"http://{address.netloc}") as remote:
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
