"""Engines that decode with fork and join, behind one interface. Importing this needs no torch."""

from espalier.runtime.engine import (
    BranchClosed,
    BranchOpened,
    Engine,
    EngineError,
    EngineInfo,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Joined,
    Limits,
    Mode,
    RequestRefused,
    Rollout,
    SamplingParams,
    Tokens,
)
from espalier.runtime.open import EngineSettingError, open_engine
from espalier.runtime.prompt import PromptTemplate

__all__ = [
    "BranchClosed",
    "BranchOpened",
    "Engine",
    "EngineError",
    "EngineInfo",
    "EngineSettingError",
    "EngineUnavailable",
    "Event",
    "FinishReason",
    "Finished",
    "GenerateRequest",
    "Joined",
    "Limits",
    "Mode",
    "PromptTemplate",
    "RequestRefused",
    "Rollout",
    "SamplingParams",
    "Tokens",
    "open_engine",
]
