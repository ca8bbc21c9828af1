from __future__ import annotations

import os

from hypothesis import settings

# Wall-clock deadlines measure the machine, not the code.
settings.register_profile("espalier", deadline=None, print_blob=True)
settings.load_profile("espalier")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
