"""From one setting to an engine: `local[:PATH]`, `sglang://HOST:PORT[,HOST:PORT…]` or `openai://HOST:PORT/v1`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.openai.setting import SCHEMES as OPENAI_SCHEMES
from espalier.runtime.openai.setting import engine_of
from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.setting import EngineSettingError, options_of
from espalier.runtime.sglang.client.setting import SCHEME, client_of

if TYPE_CHECKING:
    from espalier.runtime.engine import Engine
    from espalier.runtime.local.engine import LocalConfig, LocalEngine

__all__ = [
    "SETTINGS",
    "EmbeddedSetting",
    "EngineSettingError",
    "decoding_defaults_of",
    "embedded_of",
    "open_engine",
    "template_of",
]

SETTINGS = (
    "local (the bundled model), local:PATH (a model directory; ?rows=N branches at once, ?kv-tokens=N tokens in "
    "memory), sglang://HOST:PORT[,HOST:PORT...] (servers with one "
    "model; ?key-file=FILE if they want a key, ?tokenizer=PATH if theirs is not on this machine) or "
    "openai://HOST:PORT/v1?model=NAME (any server of OpenAI's chat completions, openai+https:// with TLS; "
    "?key-file=FILE, ?concurrent=N requests at once)"
)


@asynccontextmanager
async def open_engine(setting: str) -> AsyncIterator[Engine]:
    """Load or connect to an engine, and free it at the end. What an engine needs is imported only when it is chosen.

    Raises:
        EngineSettingError: The setting names no engine.
        EngineError: The engine cannot be had; the message says why.
    """
    embedded = embedded_of(setting)
    if embedded is not None:
        async with await _loaded(embedded) as local:
            yield local
    elif setting.startswith(SCHEME):
        async with client_of(setting) as remote:
            yield remote
    elif setting.startswith(OPENAI_SCHEMES):
        async with engine_of(setting) as server:
            yield server
    else:
        raise EngineSettingError(f"unknown engine {setting!r}; write {SETTINGS}")


async def _loaded(embedded: EmbeddedSetting) -> LocalEngine:
    """Load in a thread that neither a cancelled caller nor the end of the process waits for."""
    from espalier.runtime.local.engine import LocalEngine

    loading: Future[LocalEngine] = Future()
    loading.set_running_or_notify_cancel()
    abandoned = threading.Event()

    def load() -> None:
        try:
            engine = LocalEngine.load(embedded.directory, _config(embedded))
        except BaseException as error:
            loading.set_exception(error)
            return
        loading.set_result(engine)
        if abandoned.is_set():
            asyncio.run(engine.close())

    threading.Thread(target=load, name="espalier-load", daemon=True).start()
    try:
        return await asyncio.wrap_future(loading)
    except asyncio.CancelledError:
        abandoned.set()
        raise


def template_of(engine: Engine, instruction: Path | None) -> PromptTemplate:
    """The instruction text: from a file if one is given, else what the model's own directory holds.

    Raises:
        ValueError: The file cannot be read or does not hold `{question}` once.
    """
    directory = _directory_of(engine)
    if instruction is not None:
        try:
            return PromptTemplate.load(instruction, model=directory)
        except OSError as error:
            raise ValueError(f"cannot read the instruction text {instruction}: {error.strerror}") from None
    return PromptTemplate.load(directory) if directory else PromptTemplate()


def decoding_defaults_of(engine: Engine) -> DecodingDefaults:
    """How the engine's model was trained to be decoded, by what its own directory holds.

    Raises:
        ValueError: The file there cannot be used; the message names file and field.
        OSError: It cannot be read.
    """
    directory = _directory_of(engine)
    return DecodingDefaults.load(directory) if directory else DecodingDefaults()


def _directory_of(engine: Engine) -> Path | None:
    """The directory of an engine's model; None: it is not on this machine.

    A server may name a path of another machine. Then it is the directory that its tokenizer was loaded from here
    (`?tokenizer=PATH`), if it was one.
    """
    named = (engine.info.model, getattr(engine.tokenizer, "name_or_path", None))
    return next((Path(name) for name in named if name and Path(name).is_dir()), None)


TOKENS_A_ROW = 32
"""Room in a pass for each branch: a token, and now and then a piece of a prompt."""


@dataclass(frozen=True, slots=True)
class EmbeddedSetting:
    """What a setting says of the embedded engine.

    Attributes:
        directory: Of the model; None for the bundled one, and in training for the weights being trained.
        rows: Branches decoded at once; None: not stated.
        kv_tokens: Tokens whose keys and values are kept; None: not stated.
    """

    directory: Path | None = None
    rows: int | None = None
    kv_tokens: int | None = None


def embedded_of(setting: str) -> EmbeddedSetting | None:
    """Read `local[:PATH][?rows=N&kv-tokens=N]`; None for a setting that names another engine.

    Raises:
        EngineSettingError: An option is unknown or no number, or there is no such directory.
    """
    name, _, query = setting.partition("?")
    if name != "local" and not name.startswith("local:"):
        return None
    options = options_of(setting, query, "rows", "kv-tokens")
    numbers = {key: int(value) for key, value in options.items() if value.isascii() and value.isdigit()}
    wrong = next((key for key in options if not numbers.get(key)), None)
    if wrong is not None:
        raise EngineSettingError(f"{setting}: {wrong} must be a whole number above 0, got {options[wrong]!r}")
    directory = _directory(name.removeprefix("local").removeprefix(":"))
    return EmbeddedSetting(directory, numbers.get("rows"), numbers.get("kv-tokens"))


def _config(embedded: EmbeddedSetting) -> LocalConfig:
    from espalier.runtime.local.engine import LocalConfig
    from espalier.runtime.local.scheduler import Capacity

    rows = embedded.rows or Capacity().rows
    return LocalConfig(kv_tokens=embedded.kv_tokens, capacity=Capacity(rows, TOKENS_A_ROW * rows, rows))


def _directory(path: str) -> Path | None:
    directory = Path(path).expanduser()
    if path and not directory.is_dir():
        raise EngineSettingError(f"no model directory at {path}")
    if path and not (directory / "config.json").is_file():
        raise EngineSettingError(f"{path} holds no config.json: not a model directory")
    return directory if path else None
