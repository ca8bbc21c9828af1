"""From one setting to an engine: `local`, `local:PATH` or `sglang://HOST:PORT[,HOST:PORT…][?key-file=FILE&…]`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from espalier.runtime.prompt import PromptTemplate

if TYPE_CHECKING:
    from espalier.runtime.engine import Engine
    from espalier.runtime.sglang.client import SglangEngine

SETTINGS = (
    "local (the bundled model), local:PATH (a model directory) or sglang://HOST:PORT[,HOST:PORT...] (servers with one "
    "model; ?key-file=FILE if they want a key, ?tokenizer=PATH if theirs is not on this machine)"
)


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
        async with _sglang(setting) as remote:
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


def _sglang(setting: str) -> SglangEngine:
    """A client, not connected yet."""
    address = urlsplit(setting)
    urls = [_http(each, setting) for each in address.netloc.split(",")]
    if address.path.strip("/") or address.fragment:
        raise EngineSettingError(f"{setting} has more than servers and options; write sglang://HOST:PORT")
    options = dict(parse_qsl(address.query, keep_blank_values=True))
    unknown = sorted(options.keys() - {"key-file", "tokenizer"})
    if unknown:
        raise EngineSettingError(f"{setting} has the unknown option {unknown[0]!r}; there are key-file and tokenizer")
    from espalier.runtime.sglang.client import ClientConfig, SglangEngine

    key = _read_key(Path(options["key-file"]).expanduser()) if "key-file" in options else None
    return SglangEngine(*urls, config=ClientConfig(tokenizer=options.get("tokenizer"), key=key))


def _http(address: str, setting: str) -> str:
    try:
        parts = urlsplit(f"//{address}")
        named = parts.hostname and parts.port
    except ValueError:
        named = False
    if not named:
        raise EngineSettingError(f"{setting} lacks host or port; write sglang://HOST:PORT[,HOST:PORT...]")
    if parts.username is not None:
        raise EngineSettingError("a URL is no place for a secret; write sglang://HOST:PORT?key-file=FILE")
    return f"http://{address}"


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineSettingError(f"key-file {path} cannot be read: {error}") from None
    if not key or not key.isprintable() or " " in key:
        raise EngineSettingError(f"key-file {path} must hold one key and nothing else")
    return key


def _directory(path: str) -> Path | None:
    directory = Path(path).expanduser()
    if path and not directory.is_dir():
        raise EngineSettingError(f"no model directory at {path}")
    return directory if path else None
