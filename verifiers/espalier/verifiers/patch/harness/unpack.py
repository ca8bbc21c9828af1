"""Runs inside the box: lays a repository out.

Standard input: {"root": path, "archive": a compressed tar file in base64, "files": {path: [text, executable] or null}}.
"""

import base64
import io
import json
import os
import sys
import tarfile
from pathlib import Path


def main() -> None:
    request = json.load(sys.stdin)
    root = Path(request["root"])
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(request["archive"]))) as tar:
        tar.extractall(root)  # noqa: S202 (files and links inside it only, as it was packed)
    for path, change in request["files"].items():
        file = root / path
        file.unlink(missing_ok=True)
        if change is not None:
            text, executable = change
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
            file.chmod(0o755 if executable else 0o644)
    os._exit(0)


if __name__ == "__main__":
    main()
