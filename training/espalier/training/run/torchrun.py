"""A process that `torchrun` has started: whether this is one, and how it ends."""

from __future__ import annotations

import os
import sys


def launched() -> bool:
    """Whether `torchrun` has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def leave(status: int = 0) -> None:
    """End this process at once if `torchrun` has started it; in a process that runs alone, do nothing.

    A group's threads outlive `destroy_process_group`, since PyTorch's caches of DTensor hold the mesh. One that needs
    the interpreter's lock while the interpreter is finalised is unwound by force, for which C++ aborts the process: a
    complete run would be reported as failed. Call it last: neither `finally` blocks nor exit handlers run after it.
    """
    if launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
