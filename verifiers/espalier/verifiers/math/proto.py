"""The framing between the pool and its workers: a length, then JSON."""

from __future__ import annotations

import struct

HEADER = struct.Struct(">I")
