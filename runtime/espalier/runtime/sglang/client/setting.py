"""From `sglang://HOST:PORT[,HOST:PORT…][?key-file=FILE&tokenizer=PATH]` to a client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from espalier.runtime.setting import EngineSettingError, options_of, read_key

if TYPE_CHECKING:
    from espalier.runtime.sglang.client.engine import SglangEngine

SCHEME = "sglang://"


def client_of(setting: str) -> SglangEngine:
    """A client, not connected yet. What it needs is imported only here.

    Raises:
        EngineSettingError: The setting names no servers, or the file with their key cannot be used.
    """
    address = urlsplit(setting)
    urls = [_http(each, setting) for each in address.netloc.split(",")]
    if address.path.strip("/") or address.fragment:
        raise EngineSettingError(f"{setting} has more than servers and options; write sglang://HOST:PORT")
    options = options_of(setting, address.query, "key-file", "tokenizer")
    from espalier.runtime.sglang.client.engine import ClientConfig, SglangEngine

    key = read_key(Path(options["key-file"]).expanduser()) if "key-file" in options else None
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
