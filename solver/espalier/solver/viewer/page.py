"""One HTML file that holds the pages and the data, and asks for nothing from anywhere."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from espalier.solver.viewer.entries import Recorded, recorded

STATIC = Path(__file__).parent / "static"
"""The compiled pages; `make ui` makes them from `web/`."""

SCRIPT, STYLE, NOTICES = "app.js", "app.css", "notices.txt"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src {script}",
        "style-src {style}",
        "img-src data:",
        "connect-src {connect}",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""Content-Security-Policy: only our script runs, only our style counts, and nothing is loaded."""


def traces_page(traces: Sequence[Path]) -> str:
    """The page of one or more trace files.

    Raises:
        OSError: A file cannot be read.
        TraceError: A file is no trace.
    """
    solves: list[Recorded] = []
    for trace in traces:
        with trace.open(encoding="utf-8") as lines:
            solves += recorded(lines, str(trace))
    return page([{"id": solve.id, "source": solve.source, "entries": solve.entries} for solve in solves])


def page(solves: Sequence[dict[str, Any]]) -> str:
    """The page of solves, each with `id`, `source` and `entries`."""
    script, style = (STATIC / SCRIPT).read_text("utf-8"), (STATIC / STYLE).read_text("utf-8")
    policy = POLICY.format(script=_digest(script), style=_digest(style), connect="'none'")
    notices = (STATIC / NOTICES).read_text("utf-8").replace("--", "- ")
    return _document(
        policy,
        f"<!--\n{notices}\n-->\n<style>{style}</style>",
        f'<script type="application/json" id="solves">{embedded(solves)}</script>\n<script>{script}</script>',
    )


def shell() -> str:
    """The page that a server shows: without data, script and style beside it."""
    return _document("", f'<link rel="stylesheet" href="{STYLE}">', f'<script src="{SCRIPT}" defer></script>')


def embedded(value: Any) -> str:
    """JSON that is safe inside of a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # Halves of surrogate pairs have no form in UTF-8; JSON's escapes do.
    return "".join(f"\\u{ord(sign):04x}" if "\ud800" <= sign <= "\udfff" else sign for sign in text)


def _document(policy: str, style: str, script: str) -> str:
    secured = f'\n<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">{secured}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Espalier</title>
{style}
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript.</noscript>
{script}
</body>
</html>
"""


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
