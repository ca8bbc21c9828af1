"""What the settings of all engines share: options behind a `?`, keys in files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl


class EngineSettingError(ValueError):
    """A setting that names no engine; the message says what to write."""


def options_of(setting: str, query: str, *known: str) -> dict[str, str]:
    """What stands behind the `?` of an engine's setting.

    Raises:
        EngineSettingError: An option is unknown.
    """
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(known)):
        raise EngineSettingError(f"{setting} has the unknown option {unknown[0]!r}; there are {' and '.join(known)}")
    return options


def read_key(path: Path) -> str:
    """A server's API key.

    Raises:
        EngineSettingError: The file cannot be read or holds no key.
    """
    from espalier.common.security import read_secret  # here, so that --help imports no gRPC

    try:
        return read_secret(path)
    except OSError as error:
        raise EngineSettingError(f"key-file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise EngineSettingError(f"key-file {error}") from None
