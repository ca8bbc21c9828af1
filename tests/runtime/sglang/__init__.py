"""Tests against the real SGLang. Its switches for a CPU have to stand before it is imported."""

import os

os.environ |= {
    "SGLANG_USE_CPU_ENGINE": "1",
    "SGLANG_EXTERNAL_MODEL_PACKAGE": "tiny_models",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
