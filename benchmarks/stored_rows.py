"""Results that a benchmark stores as JSON lines while it runs, so that a run that broke off goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def stored(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none if there is no file. A last line without its end was cut off; it is taken out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.split("\n")[:-1]]
