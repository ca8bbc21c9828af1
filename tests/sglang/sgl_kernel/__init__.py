"""Stand-in for SGLang's CUDA kernels, which have no CPU build: every name exists and raises when it is called.

SGLang imports hundreds of kernels and, on a CPU with `attention_backend=torch_native`, calls none of them. Refuses to
load where CUDA is available, so that it can never stand in for the real package by accident.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch

if torch.cuda.is_available():
    raise ImportError("this is a stand-in for machines without CUDA; install sglang-kernel")

__version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _missing(name)


def _missing(name: str) -> Callable[..., NoReturn]:
    def kernel(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"{name} runs on a GPU only; this is the stand-in for sgl_kernel")

    kernel.__name__ = name
    return kernel


class _Submodules(MetaPathFinder, Loader):
    """Makes `import sgl_kernel.anything` work, except `scalar_type`: SGLang has its own fall-back for that one."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.startswith("sgl_kernel.") and name != "sgl_kernel.scalar_type":
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = __getattr__  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


sys.meta_path.insert(0, _Submodules())
