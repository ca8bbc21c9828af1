"""The embedded engine."""

from espalier.runtime.local.engine import LocalConfig, LocalEngine
from espalier.runtime.local.model import SEEDLING, ModelError
from espalier.runtime.local.scheduler import Capacity

__all__ = ["SEEDLING", "Capacity", "LocalConfig", "LocalEngine", "ModelError"]
