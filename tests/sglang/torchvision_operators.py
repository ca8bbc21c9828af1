"""Stand-in for the compiled half of torchvision, whose wheel is built for CUDA.

torchvision registers shape rules for `nms` and `qnms` when it is imported and fails where its library did not load.
This declares the two operators just before that import. A `.pth` file loads it when the interpreter starts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _DeclareOperators(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library = library  # operators live as long as their library
            sys.modules[__name__].finder = self  # type: ignore[attr-defined]
        return None


sys.meta_path.insert(0, _DeclareOperators())
