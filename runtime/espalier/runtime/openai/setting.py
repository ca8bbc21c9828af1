"""From `openai://HOST:PORT/v1?model=NAME[&key-file=FILE&concurrent=N&context=N]` to an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from espalier.runtime.setting import EngineSettingError, options_of, read_key

if TYPE_CHECKING:
    from espalier.runtime.openai.engine import OpenAIEngine

SCHEMES = ("openai://", "openai+https://")


def engine_of(setting: str) -> OpenAIEngine:
    """An engine, not connected yet. What it needs is imported only here.

    Raises:
        EngineSettingError: The setting names no server, an option is unknown or wrong, or the key cannot be read.
        ModuleNotFoundError: The extra `openai` is not installed.
    """
    address = urlsplit(setting)
    if not address.hostname or address.fragment:
        raise EngineSettingError(f"{setting} lacks the host; write openai://HOST:PORT/v1?model=NAME")
    if address.username is not None:
        raise EngineSettingError("a URL is no place for a secret; write openai://HOST:PORT/v1?key-file=FILE")
    options = options_of(setting, address.query, "model", "key-file", "concurrent", "context")
    numbers = {}
    for name in ("concurrent", "context"):
        value = options.get(name, "")
        if name in options and not (value.isascii() and value.isdigit() and int(value)):
            raise EngineSettingError(f"{setting}: {name} must be a whole number above 0, got {value!r}")
        if name in options:
            numbers[name] = int(value)
    from espalier.runtime.openai.engine import OpenAIConfig, OpenAIEngine

    scheme = "https" if address.scheme.endswith("https") else "http"
    config = OpenAIConfig(
        model=options.get("model", ""),
        key=read_key(Path(options["key-file"]).expanduser()) if "key-file" in options else None,
        **numbers,
    )
    return OpenAIEngine(f"{scheme}://{address.netloc}{address.path.rstrip('/') or '/v1'}", config)
