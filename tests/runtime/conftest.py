"""Tests of the plugin import SGLang, which has an environment of its own: `make test-sglang` runs them there."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("sglang") else ["sglang"]
