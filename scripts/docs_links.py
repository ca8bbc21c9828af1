#!/usr/bin/env python3
"""Checks that every link of a built site leads somewhere: pages, anchors, images, scripts.

    python scripts/docs_links.py site

Links to other sites are not followed. Exit status: 0 all do, 1 some do not.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ATTRIBUTES = {"href", "src", "data"}


class Reader(HTMLParser):
    """Collects what a page links to, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ATTRIBUTES and value:
                self.links.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def read(path: Path) -> Reader:
    """A page."""
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader


def broken(site: Path) -> list[str]:
    """Links that lead nowhere, each with the page that has it."""
    pages = {path.resolve(): read(path) for path in site.rglob("*.html")}
    found = []
    for page, reader in pages.items():
        for link in reader.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{page.relative_to(site.resolve())}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{page.relative_to(site.resolve())}: {link} (no such anchor)")
    return found


def main() -> int:
    site = Path(sys.argv[1])
    faults = [fault for fault in broken(site) if not fault.startswith("404.html")]
    print("\n".join(faults), end="\n" if faults else "")
    print(f"{len(list(site.rglob('*.html')))} pages, {len(faults)} broken links")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
